"""The zoo's algorithms that are told the transitions: linear programs on the host, from the expert's own runs."""

from collections.abc import Callable, Mapping

import numpy as np

from dagger_jax.algorithms import ALGORITHMS, Algorithm
from dagger_jax.tabular import known_dynamics
from dagger_jax.tabular.known_dynamics import Demonstrations, Matched
from dagger_jax.types import Problem, World

PRIOR = 1.0  # labels, spread over the actions, that every table of the zoo begins with
SOLVERS: Mapping[str, Callable[[World, Demonstrations], Matched]] = {
    "mimic_md": known_dynamics.mimic_md,
    "replay_estimation": known_dynamics.replay,
}
SOURCES = "Rajaraman et al. 2020, arXiv 2009.05990", "Swamy et al. 2022, arXiv 2205.15397"
TITLES = "Mimic-MD", ""
# They buy what behavioural cloning buys; a bound of their own with constants is not published.
ROWS: Mapping[str, Algorithm] = {name: row for name, row in ALGORITHMS.items() if not row.strategy} | {
    name: ALGORITHMS["behavioural_cloning"]._replace(source=source, title=title, bound="u T eta", theorem="")
    for name, source, title in zip(SOLVERS, SOURCES, TITLES, strict=True)
}


def title(name: str) -> str:
    """An algorithm's name as its authors write it."""
    return ROWS[name].title or name.replace("_", " ")


def sees_states(world: World) -> bool:
    """Whether no two states look alike: what is told of states is then told of what the learner sees."""
    return np.array_equal(np.asarray(world.observation), np.arange(world.states))


def policy(name: str, problem: Problem, data: Demonstrations, seed: tuple[int, ...]) -> np.ndarray:
    """The policy [T, S, A] of an algorithm; with the zoo's prior where the expert was seen.

    A linear program that has several solutions takes one by the order of the unknowns. Actions are shuffled before, as
    otherwise worlds whose expert takes the first action everywhere would be known without data.
    """
    world, order = problem.world, np.random.default_rng(seed).permutation(problem.world.actions)
    place = np.argsort(order)
    shuffled = world.replace(
        transition=np.asarray(world.transition)[:, :, order], cost=np.asarray(world.cost)[:, :, order]
    )
    found = SOLVERS[name](shuffled, data._replace(actions=place[data.actions])).policy[..., place]
    seen = known_dynamics.counts(world, data).sum(-1, keepdims=True)
    return np.where(seen > 0, (seen * found + PRIOR / world.actions) / (seen + PRIOR), found)

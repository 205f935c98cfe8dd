"""What `sample_complexity` measures with one table a step, and what is shared by all its parts.

In the reset cliffs and identity bandits every action of the expert is drawn at random, and the states that it is seen
in do not depend on the draw. So one expert stands for all: a learner that is uniform where it has seen nothing (the
log loss does that) has the gap that the majority's deterministic guess has on average over drawn experts, exactly
where each step has a table of its own, as every mistake is then met at most once. In the bad state of the recoverable
cliff the two are not alike: see `interactive`.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import algorithms, randomness, schedules
from dagger_jax.bounds import statistics
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, learners, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Array, Problem

from ..claim import devices
from ..shared import study
from ..shared.training import Chosen

ACTIONS = 4  # of all worlds whose expert is drawn
BLOCK = 1000  # replicas at once
ROUNDS = 10  # of DAgger
GUESS = 1 - 1 / ACTIONS  # the probability that a guess is wrong
Point = dict[str, Any]


# ---- worlds ---------------------------------------------------------------------------------------------------------


def cliff(horizon: int, states: int, samples: int, actions: int = ACTIONS, *, recoverable: bool = False) -> Problem:
    """A reset cliff with one expert for all steps, drawn by a fixed seed: see the module."""
    return gallery.reset_cliff(horizon, states, actions, samples, seed=0, stationary=True, recoverable=recoverable)


def plain(problem: Problem, *, sparse: bool = False) -> Problem:
    """The problem without a name and with costs over time, so that worlds of equal sizes share compiled programs.

    `sparse`: only the last step costs, R = 1: an episode succeeds or fails.
    """
    world = problem.world
    costs = np.array(np.broadcast_to(world.cost, (world.horizon, world.states, world.actions)))
    costs[: -1 if sparse else 0] = 0.0
    return dataclasses.replace(problem, world=dataclasses.replace(world, cost=costs), called="")


def padded(problem: Problem, longest: int, *, sparse: bool = False) -> Problem:
    """The plain problem in arrays of the longest horizon: worlds of all horizons share compiled programs."""
    return tabular.padded(plain(problem, sparse=sparse), longest)


def guessed(problem: Problem, draws: int) -> float:
    """q: the expected error at a step under the expert's law of a learner that guesses in states without a label."""
    return GUESS * float(statistics.unseen(np.asarray(problem.world.initial)[None], draws)[0])


# ---- replicas -------------------------------------------------------------------------------------------------------


def keys(seed: int, stream: str, count: int) -> Array:
    """Keys of a number of replicas; another `stream`, other random numbers."""
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode())), count)


def in_blocks(function: Callable[[Array], np.ndarray], replicas: Array) -> np.ndarray:
    """`function` of all keys, at most BLOCK at once; the last block is filled up, so that all have one shape."""
    count, size = len(replicas), min(BLOCK, len(replicas))
    order = np.arange(-(-count // size) * size) % count
    return np.concatenate([function(replicas[block]) for block in order.reshape(-1, size)], axis=-1)[..., :count]


def mean(values: Array) -> Point:
    """The mean gap of replicas and its standard error."""
    found = np.asarray(values, float)
    error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else None
    return {"gap": float(found.mean()), "gap_stderr": None if error is None else float(error), "replicas": len(found)}


@float64
def gaps(problem: Problem, policies: Array) -> Array:
    """Exact J(pi) - J(pi*) of policies [R, L, S, A] in one problem. [R]"""

    def one(policy: Array) -> Array:
        deployed = exact.deploy(problem, policy)
        return deployed.novice_cost - deployed.guide_cost

    return jax.vmap(one)(policies)


@float64
def gaps_each(problems: Problem, policies: Array) -> Array:
    """The same of one policy in each of R problems. [R]"""

    def one(problem: Problem, policy: Array) -> Array:
        deployed = exact.deploy(problem, policy)
        return deployed.novice_cost - deployed.guide_cost

    return jax.vmap(one, (study.over(problems), 0))(problems, policies)


@functools.partial(devices.jit, static_argnames=("episodes", "shared"))
def cloned(
    problem: Problem, sampler: rollout.Tables, replicas: Array, rule: learners.Rule, *, episodes: int, shared: bool
) -> Array:
    """Policies [R, L, S, A] cloned from so many demonstrations, one walker an episode. `sampler`: of `problem`."""
    horizon = problem.world.horizon
    followed = schedules.dagger(1, horizon, schedules.beta_constant(1, 1.0))  # the expert moves the novice throughout
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(key: Array) -> Array:
        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids, alone=True)
        learner = learners.tabular(problem.world, rule, shared)
        return interaction.run(problem, followed, learner, interpreter).newest

    return devices.over_devices(jax.vmap(one))(replicas)


def demonstrated(
    world: str, horizon: int, states: int, trajectories: int, count: int, seed: int, longest: int
) -> tuple[list[Point], int]:
    """Behavioural cloning in a reset cliff or an identity bandit, as rare as is worst: points and steps walked.

    `stationary_reset_cliff` shares the table over time, the others have one a step.
    """
    shared = world == "stationary_reset_cliff"
    labels = trajectories * (horizon if shared else 1)  # of one row of the table's
    guided = {"horizon": horizon, "states": states, "trajectories": trajectories, "labels": trajectories * horizon}
    if world == "identity_bandit":
        problem = gallery.identity_bandit(horizon, states, ACTIONS, labels, stationary=True)
        judges = (padded(problem, longest),)
        forms = (gallery.identity_bandit_gap(horizon, states, ACTIONS, labels, labels),)
    else:
        problem = cliff(horizon, states, labels)
        judges = padded(problem, longest), padded(problem, longest, sparse=True)
        form = gallery.stationary_reset_cliff_gap if shared else gallery.reset_cliff_gap
        forms = tuple(form(horizon, states, ACTIONS, labels, labels, last=last) for last in (False, True))
    sampler = rollout.tables(judges[0])

    def block(some: Array) -> np.ndarray:
        policies = cloned(judges[0], sampler, some, learners.LogLoss(), episodes=trajectories, shared=shared)
        return np.stack([gaps(judge, policies) for judge in judges])

    found = in_blocks(block, keys(seed, repr((world, horizon, states, trajectories)), count))
    allowed = None if shared else float(statistics.cloning_tabular(horizon, states, trajectories))
    common = {"algorithm": "behavioural_cloning", "learner": "log_loss", "shared": shared, "rarity": 1 / (labels + 1)}
    common |= guided | {"error": guessed(problem, labels)}
    points = [
        common | mean(values) | {"world": "sparse_" * (place > 0) + world, "closed_form": form, "bound": allowed}
        for place, (values, form) in enumerate(zip(found, forms, strict=True))
    ]
    return points, trajectories * horizon * count


# ---- the bound of tabular cloning, in random worlds -----------------------------------------------------------------


def bounded(horizon: int, states: int, trajectories: int, world: int, count: int, seed: int) -> tuple[list[Point], int]:
    """Cloning of the optimal expert of one random world, action 0 where nothing was seen."""
    problem = plain(gallery.random_mdp(horizon, states, ACTIONS, seed=(seed, world)))
    sampler = rollout.tables(problem)

    def block(some: Array) -> np.ndarray:
        policies = cloned(problem, sampler, some, learners.Majority(), episodes=trajectories, shared=False)
        return np.asarray(gaps(problem, policies))

    found = in_blocks(block, keys(seed, repr(("bound", horizon, states, trajectories, world)), count))
    law = exact.deploy(problem, problem.expert).guide
    middle = float(statistics.cloning_expected(np.asarray(law, float), trajectories))
    point = {"algorithm": "behavioural_cloning", "learner": "follow_the_leader", "shared": False, "run": world}
    point |= {"horizon": horizon, "states": states, "trajectories": trajectories, "labels": trajectories * horizon}
    point |= {"world": "random_mdp", "middle": middle}
    point |= {"bound": float(statistics.cloning_tabular(horizon, states, trajectories))}
    return [point | mean(found)], trajectories * horizon * count


# ---- interactive learners -------------------------------------------------------------------------------------------

RULES: Mapping[str, learners.Rule] = {"follow_the_leader": learners.Majority(), "log_loss": learners.LogLoss()}


def interactive(
    algorithm: str, learner: str, horizon: int, states: int, trajectories: int, count: int, seed: int, longest: int
) -> tuple[list[Point], int]:
    """An algorithm in drawn recoverable reset cliffs; as many labels of each step as N demonstrations have.

    Where it has seen no label the majority ("follow_the_leader") takes action 0, which is always wrong in the bad
    state, and "log_loss" guesses uniformly, at every step anew: that leaves the bad state after A tries on average.
    """
    problems, samplers, rare = _recoverable(horizon, states, trajectories, count, seed, longest)
    row = algorithms.ALGORITHMS[algorithm]
    rounds, most = (horizon, longest) if row.per_step else (ROUNDS, ROUNDS)
    episodes = trajectories if row.per_step else max(trajectories // ROUNDS, 1)
    policies = study.train(
        problems,
        samplers,
        schedules.padded(row.build(rounds, horizon, horizon), most, longest),
        keys(seed, repr((algorithm, horizon, states, trajectories)), count),
        Chosen.of(RULES, learner),
        np.int32(rounds) if row.per_step else None,
        episodes=episodes,
        shared=False,
        alone=row.per_step,
    )
    point = {"world": "recoverable_reset_cliff", "algorithm": algorithm, "learner": learner}
    point |= {"shared": False, "rarity": 1 / (trajectories + 1), "labels": trajectories * horizon}
    point |= {"horizon": horizon, "states": states, "trajectories": trajectories}
    point |= {"error": rare}
    if algorithm == "behavioural_cloning":
        stays = GUESS if learner == "log_loss" else 1.0
        point["closed_form"] = gallery.reset_cliff_gap(
            horizon, states, ACTIONS, trajectories, trajectories, stays=stays
        )
        point["bound"] = float(statistics.cloning_tabular(horizon, states, trajectories))
    walkers = 1 if row.per_step else 2
    return [point | mean(gaps_each(problems, policies))], walkers * rounds * episodes * horizon * count


@functools.lru_cache(maxsize=8)  # algorithms share them
def _recoverable(
    horizon: int, states: int, trajectories: int, count: int, seed: int, longest: int
) -> tuple[Problem, rollout.Tables, float]:
    """A cliff a run, their samplers, and the error of a guess."""
    make = functools.partial(gallery.reset_cliff, horizon, states, ACTIONS, trajectories, recoverable=True)
    drawn = [padded(make((seed, run)), longest) for run in range(count)]
    problems = study.stacked(drawn)
    return problems, rollout.tables(problems), guessed(drawn[0], trajectories)


def two_states(
    algorithm: str, horizon: int, samples: int, count: int, seed: int, longest: int
) -> tuple[list[Point], int]:
    """An algorithm in the two-state bandit, n roll-outs, one table for all steps; half of the experts are of each."""
    drawn = [padded(gallery.two_state_bandit(horizon, samples, seed=run), longest) for run in range(16)]
    kinds = {int(problem.expert[0, 1].argmax()): problem for problem in drawn}
    both, kind = study.stacked([kinds[0], kinds[1]]), np.arange(count) % 2
    problems, samplers = study.chosen(both, kind), study.chosen(rollout.tables(both), kind)
    row = algorithms.ALGORITHMS[algorithm]
    policies = study.train(
        problems,
        samplers,
        schedules.padded(row.build(samples, horizon, horizon), samples, longest),
        keys(seed, repr(("two states", algorithm, horizon)), count),
        learners.Majority(),
        episodes=1,
        shared=True,
        alone=False,
    )
    point = {"world": "two_state_bandit", "algorithm": algorithm, "learner": "follow_the_leader", "shared": True}
    point |= {"rarity": 1 / samples, "closed_form": gallery.two_state_bandit_gap(horizon, samples)}
    point |= {"labels": samples * (1 if row.sparse else horizon), "horizon": horizon}
    point |= {"trajectories": samples, "states": 2}
    # Of a lower bound `bound` is what no learner can be below.
    point |= {"bound": gallery.two_state_bandit_least(horizon, samples)}
    return [point | mean(gaps_each(problems, policies))], 2 * samples * horizon * count

"""What knowing the transitions is worth: Mimic-MD and replay estimation beside behavioural cloning, on equal data."""

import numpy as np

from dagger_jax.bounds import statistics
from dagger_jax.tabular import experts, gallery, known_dynamics, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

from ..shared import study
from .cases import ACTIONS, Point, gaps_each, keys, mean, plain

LEAK = 1.0  # expected falls of the expert in a leaky cliff, an episode
METHODS = ("behavioural_cloning", "mimic_md", "replay")


def leaky_cliff(horizon: int, states: int, samples: int, seed: tuple[int, ...]) -> Problem:
    """A reset cliff off which the expert itself falls sometimes, so that its law does not tell its actions.

    With the expert's action a good state leads to the bad one with probability 1 / H, else to a fresh good one; with
    any other to the bad one. The bad state stays and costs 1 a step, a good state nothing, whatever is done there.
    """
    cliff = gallery.reset_cliff(horizon, states, ACTIONS, samples, seed, stationary=True)
    expert = np.asarray(cliff.expert[0])
    good = np.arange(states) < states - 1
    fresh, falls = gallery.reset_law(states, samples), np.eye(states)[-1]
    right = (expert > 0) & good[:, None]
    transition = np.where(right[..., None], (1 - LEAK / horizon) * fresh + LEAK / horizon * falls, falls)
    cost = np.repeat(1.0 - good[:, None], ACTIONS, axis=1)
    world = tabular.world(transition, cost, fresh, horizon)
    return Problem(world, experts.deterministic(expert.argmax(-1), ACTIONS), "leaky_cliff")


def build(world: str, horizon: int, states: int, samples: int, seed: tuple[int, ...]) -> Problem:
    """A world by name, drawn by the seed: the expert's actions, and of `random_mdp` transitions and costs."""
    match world:
        case "leaky_cliff":
            return leaky_cliff(horizon, states, samples, seed)
        case "identity_bandit":
            return gallery.identity_bandit(horizon, states, ACTIONS, samples, seed, stationary=True)
    return gallery.random_mdp(horizon, states, ACTIONS, seed)


def matched(
    world: str, horizon: int, states: int, trajectories: int, count: int, seed: int, longest: int
) -> tuple[list[Point], int]:
    """All three methods on the same demonstrations: a point each. Uniform where nothing is known."""
    drawn = [plain(build(world, horizon, states, trajectories, (seed, run))) for run in range(count)]
    problems = study.stacked([tabular.padded(each, longest) for each in drawn])
    samplers = rollout.tables(problems)
    streams = keys(seed, repr(("known", world, horizon, states, trajectories)), count)
    runs = study.demonstrations(problems, samplers, streams, trajectories)
    fitted: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    for problem, data in zip(drawn, runs, strict=True):
        fitted["behavioural_cloning"].append(known_dynamics.clone(problem.world, data))
        fitted["mimic_md"].append(known_dynamics.mimic_md(problem.world, data).policy)
        fitted["replay"].append(known_dynamics.replay(problem.world, data).policy)
    beyond = (0, 0), (0, longest - horizon), (0, 0), (0, 0)  # steps that are never taken
    found = {
        method: np.asarray(gaps_each(problems, np.pad(np.stack(policies), beyond)))
        for method, policies in fitted.items()
    }
    common = {"world": world, "shared": False, "rarity": 1 / (trajectories + 1), "labels": trajectories * horizon}
    common |= {"horizon": horizon, "states": states, "trajectories": trajectories}
    points = []
    for method, values in found.items():
        own = common | mean(values) | {"algorithm": method, "learner": "occupancy"}
        difference = mean(values - found["behavioural_cloning"])
        own |= {"difference": difference["gap"], "difference_stderr": difference["gap_stderr"]}
        if method == "behavioural_cloning":
            own |= {"learner": "log_loss", "difference": None, "difference_stderr": None}
            own |= {"bound": float(statistics.cloning_tabular(horizon, states, trajectories))}
        elif method == "mimic_md":
            own |= {"order": float(statistics.mimic_md_order(horizon, states, trajectories))}
        if world == "identity_bandit" and method == "behavioural_cloning":
            own["closed_form"] = gallery.identity_bandit_gap(horizon, states, ACTIONS, trajectories, trajectories)
        points.append(own)
    return points, trajectories * horizon * count

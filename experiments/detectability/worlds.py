"""The worlds and learners of `detectability`, and what is known of them in closed form."""

import functools
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from dagger_jax import schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, learners, oracle
from dagger_jax.types import Array, Problem, Schedule

ROLL_IN = 4  # steps that the learner walks before the chunk
ABOUT = {
    "chunk_reset": "deterministic expert, constant error",
    "aliased": "random, deterministic expert, states look alike",
    "coin": "stochastic expert, one bias at every step",
    "softened": "random, stochastic expert, many biases",
}
STOCHASTIC = ("coin", "softened")
REPLICATED = ("aliased", "softened")  # drawn at random


def _problem(world: str, horizon: int, seed: Any) -> Problem:
    """Two worlds in closed form, two at random, each pair with a deterministic and a stochastic expert."""
    match world:
        case "chunk_reset":
            return gallery.chunk_reset(horizon)
        case "coin":
            return gallery.chunk_reset(horizon).replace(expert=np.full((1, 2, 2), 0.5), called=world)
        case "aliased":
            return gallery.random_mdp(horizon, 6, 2, seed=seed, observations=2, stationary=True).replace(called=world)
    return gallery.random_mdp(horizon, 4, 2, seed=seed, temperature=1.0).replace(called=world)


@functools.partial(float64, static=("horizon",))
def _cloned(problem: Problem, *, horizon: int) -> Array:
    """The maximum likelihood of infinitely many expert labels, one table for all steps."""
    learner = learners.tabular(problem.world, learners.LogLoss(), shared=True)
    cloning = schedules.behavioural_cloning(1, horizon)
    return interaction.run(problem, cloning, learner, interaction.exactly(problem)).newest


class Case(NamedTuple):
    """A learner, an expert, and one chunk after a roll-in. Its prefixes are the shorter chunks."""

    problem: Problem
    policy: Array  # [L, S, A]
    row: Schedule
    start: Array  # [S] law of the chunk's first state
    eps: np.ndarray  # [k] error at each step of the chunk, where the expert continues


def build(seed: int, longest: int, world: str, eps: float | None, run: int) -> Case:
    """The case of a world, an error per step (None: the learner's own) and a replica; chunks up to `longest` steps."""
    horizon = ROLL_IN + longest
    problem = _problem(world, horizon, (seed, run))
    row = schedules.row(schedules.chunked(1, schedules.forks(horizon, [ROLL_IN])), 0)
    errors = np.full(horizon, eps or 0.0)
    policy = _cloned(problem, horizon=horizon) if eps is None else oracle.policy(problem, row, errors)
    played = exact.play(problem, policy, row)
    error = (played.guide * 0.5 * np.abs(policy - problem.expert).sum(-1)).sum(-1)
    return Case(problem, policy, row, played.novice[ROLL_IN], error[ROLL_IN:])


def closed_form(world: str, eps: float | None, k: int) -> dict[str, float]:
    """What theory states of a chunk of k steps with constant errors, and of a biased coin: binomial laws.

    docs/theory.md#detectability-divergences and docs/theory.md#detectability-growth-with-the-chunk.
    """
    if eps is None or world not in ("chunk_reset", "coin"):
        return {}
    if world == "chunk_reset":
        kl = -k * np.log1p(-eps)
        agreed, v = np.exp(-kl), -np.expm1(-kl)
        alike, auc = -kl / 2, (1 + v) / 2
    else:
        fair, biased = (stats.binom.pmf(np.arange(k + 1), k, p) for p in (0.5, 0.5 + eps))
        v, kl = 0.5 * np.abs(fair - biased).sum(), -0.5 * k * np.log1p(-4 * eps**2)
        alike = 0.5 * k * np.log1p(-2 * eps**2 / (1 + np.sqrt(1 - 4 * eps**2)))  # log of the affinity
        auc = biased @ (np.cumsum(fair) - fair / 2)  # a biased chunk has more ones than a fair one
    found = {"total_variation": v, "kl": kl, "hellinger": -2 * np.expm1(alike), "accuracy": (1 + v) / 2, "auc": auc}
    if world == "chunk_reset":
        rest = -np.log1p(-v / 2)
        halves = agreed * (rest - kl), rest, v * np.log(2)
        found["jensen_shannon"] = sum(halves) / 2
    return {name: float(value) for name, value in found.items()}

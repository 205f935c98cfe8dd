"""Gates: the expert takes over, and is asked, in states that look unfamiliar. Round by round, inside the loop.

A gate is called before every round and says with which probability the expert takes over in each state; there it
acts and is labelled, elsewhere neither. These two set their threshold by a budget: the share of steps to ask.
"""

from typing import Any, Protocol

import jax.core
import jax.numpy as jnp
from flax import struct

from dagger_jax.types import Array, Problem


class Gate(Protocol):
    """(problem, the learner's memory, its policy, the novice's law in the last round [T, S]) -> takeover [T, S]."""

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Array: ...


def above_quantile(scores: Array, law: Array, rate: Array | float) -> Array:
    """1 where a score is among the top `rate` of the law's mass, a fraction at the threshold itself. [T, S]

    Exactly `rate` of the mass is taken, ties are shared out. Before there is a law everything is taken.

    Raises:
      ValueError: a rate outside [0, 1] (a concrete one only).
    """
    if not isinstance(rate, jax.core.Tracer) and not 0 <= float(rate) <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {float(rate):g}")
    flat, mass = scores.reshape(-1), law.reshape(-1)
    order = jnp.argsort(-flat)
    ranked = flat[order]
    total = mass.sum()
    reached = jnp.cumsum(mass[order])
    threshold = ranked[jnp.minimum((reached < rate * total).sum(), ranked.size - 1)]
    higher = (mass * (flat > threshold)).sum()
    level = (mass * (flat == threshold)).sum()
    share = jnp.clip((rate * total - higher) / jnp.where(level > 0, level, 1.0), 0.0, 1.0)
    taken = jnp.where(flat > threshold, 1.0, jnp.where(flat == threshold, share, 0.0))
    return jnp.where(total > 0, taken, 1.0).reshape(scores.shape)


def novelty(problem: Problem, memory: Any) -> Array:
    """1 / (1 + labels seen) of a tabular learner's row at every step and state. [T, S]"""
    seen = memory.weight[:, problem.world.observation]
    return jnp.broadcast_to(1.0 / (1.0 + seen), (problem.world.horizon, seen.shape[-1]))


def doubt(policy: Array, horizon: int) -> Array:
    """1 - the probability of the learner's likeliest action. [T, S]"""
    least = 1.0 - policy.max(-1)
    return jnp.broadcast_to(least, (horizon, least.shape[-1]))


class NoveltyQuantile(struct.PyTreeNode):
    """The most novel states up to a share of steps: CRSAIL's conformal query rate (arXiv 2512.00453), where the
    distance to the nearest neighbours is the novelty of a table's row.
    """

    rate: Array | float

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Array:
        return above_quantile(novelty(problem, memory), law, self.rate)


class ThriftyQuantile(struct.PyTreeNode):
    """Novelty or doubt, each to half of a target rate, refitted each round: ThriftyDAgger (arXiv 2109.08273)."""

    rate: Array | float

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Array:
        novel = above_quantile(novelty(problem, memory), law, self.rate / 2)
        doubtful = above_quantile(doubt(policy, problem.world.horizon), law, self.rate / 2)
        return 1 - (1 - novel) * (1 - doubtful)

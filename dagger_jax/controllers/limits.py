"""What a controller's evidence says: distances by offset with confidence limits, and where errors change."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import schedules
from dagger_jax.types import Array


class Seen(NamedTuple):
    """What a round showed. Measured by whichever interpreter played it."""

    starts: Array  # [T] the chunk starts that were played
    eps: Array  # [T] error under the training law
    agreement: Array  # [T] share of walkers that acted alike from the chunk's start through step t, as played
    cost: Array  # [] the novice's expected total cost, given the states it visited
    episodes: Array  # [] how many were played; inf for the exact interpreter
    actions: int = 2  # A
    steps: Array | None = None  # [] taken of the T; None: all

    @property
    def horizon(self) -> Array | int:
        """Steps of an episode: the longest that a chunk can be."""
        return self.starts.shape[0] if self.steps is None else self.steps


def upper(share: Array, trials: Array, deviations: float) -> Array:
    """Wilson's upper confidence limit of a share; the share itself for infinitely many trials."""
    z = deviations**2 / jnp.maximum(trials, 1.0)
    spread = jnp.sqrt(jnp.maximum(share * (1 - share), 0.0) * z + z * z / 4)
    return jnp.where(jnp.isinf(trials), share, (share + z / 2 + spread) / (1 + z))


def distances(seen: Seen, deviations: float) -> Array:
    """T_j, j = 0..T-1, as upper confidence limits: what a detector can know after j steps. [T]

    Walkers part at least as often as a detector can tell; as often, where the expert is deterministic and without
    noise. T_0 = 0. Beyond the longest chunk played they are continued as 1 - (1 - e)^j, e from the last one measured.
    """
    parted, count = schedules.by_offset(1 - seen.agreement, seen.starts, seen.steps)  # [i]: after i + 1 steps
    limits = upper(parted, count * seen.episodes, deviations)
    longest = jnp.maximum((count > 0).sum(), 1)
    last = jnp.minimum(limits[longest - 1], 1 - 1e-7)
    j = jnp.arange(seen.starts.shape[0])
    continued = -jnp.expm1(j / longest * jnp.log1p(-last))
    measured = jnp.concatenate([jnp.zeros(1, limits.dtype), limits[:-1]])
    return jnp.where(j <= longest, measured, jnp.maximum(continued, last)).at[0].set(0.0)


def longest_within(distances: Array, budget: Array | float) -> Array:
    """The largest k with (1/k) sum_{j<k} T_j <= budget; at least 1, for T_0 = 0. [] int"""
    means = jnp.cumsum(distances) / jnp.arange(1, distances.shape[0] + 1)
    within = means <= budget
    return jnp.maximum(jnp.where(within, jnp.arange(1, within.shape[0] + 1), 1).max(), 1)


def certain_means(seen: Seen, deviations: float) -> Array:
    """For chunks of k = 1..T steps, wherever they start: what (1/k) sum_{j<k} T_j cannot exceed. [T]

    Walkers coupled maximally agree until step t with the learner in a state of its own law at most as often as it is
    there, so they part at t with probability at most eta_t, its own error, whatever the chunk's start; and eta_t is at
    most the sum of eps over the chunk so far that was played (docs/theory.md#chunks-own-errors-and-laws). The
    expert alone labels, and beta is 0.
    """
    horizon = seen.starts.shape[0]

    def within(boundary: Array, values: Array) -> Array:
        def later(before: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
            total = schedules.restart(xs[0], before, jnp.zeros_like(before)) + xs[1]
            return total, total

        total = jax.lax.scan(later, jnp.zeros_like(values[0]), (boundary.astype(values.dtype), values))[1]
        return jnp.minimum(total, 1.0)

    own = within(seen.starts, upper(seen.eps, seen.episodes, deviations))

    def mean(k: Array) -> Array:
        starts = schedules.starts(horizon, k)
        after = schedules.by_offset(within(starts, own), starts, seen.steps)[0]  # after[i]: after i + 1 steps
        return (after * (jnp.arange(horizon) < k - 1)).sum() / k

    return jax.vmap(mean)(jnp.arange(1, horizon + 1))


def change_point(values: Array, length: Array) -> Array:
    """Where the mean of values[:length] breaks, by the Bayesian criterion; `length` if it does not. [] int"""
    place = jnp.arange(values.shape[0])
    inside = place < length
    mean = (values * inside).sum() / jnp.maximum(length, 1)
    # Centred and scaled, so that what rounding leaves of equal values is below the floor of the residuals.
    scale = jnp.maximum(jnp.abs(values * inside).max(), jnp.finfo(values.dtype).tiny)
    values = jnp.where(inside, (values - mean) / scale, 0.0)
    floor = 100 * values.shape[0] * jnp.finfo(values.dtype).eps ** 2
    first, second = jnp.cumsum(values), jnp.cumsum(values**2)
    total, squares = first[-1], second[-1]
    n = place + 1.0
    rest = jnp.maximum(length - n, 1.0)
    residual = (second - first**2 / n) + (squares - second - (total - first) ** 2 / rest)
    residual = jnp.where(n < length, jnp.maximum(residual, floor), jnp.inf)
    whole = jnp.maximum(squares - total**2 / jnp.maximum(length, 1), floor)
    best = residual.argmin()
    broken = length * jnp.log(residual[best] / length) + 3 * jnp.log(length)
    plain = length * jnp.log(whole / length) + jnp.log(length)
    return jnp.where(broken < plain, best + 1, length)

"""Chunk lengths that react to evidence, inside the compiled outer loop (design 2).

A controller is `init(horizon) -> state` and `update(state, seen) -> (state, starts)`, pure: between rounds it
reads what the round showed and writes where the next round's chunks start. `starts` [T] replaces the row's
`join`. The first round's come from `init`, as the second part of its result.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax import schedules
from dagger_jax.types import Array


class Seen(NamedTuple):
    """What a round showed. Measured by whichever interpreter played it."""

    starts: Array  # [T] the chunk starts that were played
    eps: Array  # [T] error under the training law
    agreement: Array  # [T] share of walkers that agreed from the chunk's start through step t
    cost: Array  # [] the novice's expected total cost, given the states it visited
    episodes: Array  # [] how many were played; inf for the exact interpreter


class Controller(Protocol):
    """See the module."""

    def init(self, horizon: int) -> tuple[Any, Array]: ...

    def update(self, state: Any, seen: Seen) -> tuple[Any, Array]: ...


# ---- what the evidence says ---------------------------------------------------------------------------------


def upper(share: Array, trials: Array, deviations: float) -> Array:
    """Wilson's upper confidence limit of a share; the share itself for infinitely many trials."""
    z = deviations**2 / jnp.maximum(trials, 1.0)
    spread = jnp.sqrt(jnp.maximum(share * (1 - share), 0.0) * z + z * z / 4)
    return jnp.where(jnp.isinf(trials), share, (share + z / 2 + spread) / (1 + z))


def distances(seen: Seen, deviations: float) -> Array:
    """T_j, j = 0..T-1, as upper confidence limits: what a detector can know after j steps. [T]

    T_0 = 0. Beyond the longest chunk played they are continued as 1 - (1 - e)^j, e from the last one measured.
    """
    parted, count = schedules.by_offset(1 - seen.agreement, seen.starts)  # parted[i]: after i + 1 steps
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

    The walkers agree until step t with the learner in a state of its own law at most as often as it is there, so
    they part at t with probability at most eta_t, its own error, whatever the chunk's start; and eta_t is at most
    the sum of eps over the chunk so far that was played (theory 7.2(0)). The expert alone labels, and beta is 0.
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
        after = schedules.by_offset(within(starts, own), starts)[0]  # after[i]: after i + 1 steps
        return (after * (jnp.arange(horizon) < k - 1)).sum() / k

    return jax.vmap(mean)(jnp.arange(1, horizon + 1))


def require(name: str, value: Array | float, low: float, high: float = np.inf) -> None:
    """Refuses by name what is not strictly between two limits; a traced value is not looked at.

    Raises:
      ValueError: naming the parameter, what is allowed, and what was given.
    """
    if not isinstance(value, jax.core.Tracer) and not ((low < np.asarray(value)) & (np.asarray(value) < high)).all():
        raise ValueError(f"{name} must lie strictly between {low:g} and {high:g}, got {np.asarray(value).tolist()}")


# ---- controllers --------------------------------------------------------------------------------------------------


class Fixed(struct.PyTreeNode):
    """Chunks of k steps, whatever is seen."""

    length: Array | int

    def init(self, horizon: int) -> tuple[Array, Array]:
        require("length", self.length, 0)
        starts = schedules.starts(horizon, jnp.asarray(self.length))
        return jnp.zeros(()), starts

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        return state, schedules.starts(seen.starts.shape[0], jnp.asarray(self.length))


class DetectabilityBudget(struct.PyTreeNode):
    """The longest chunk whose mean T_j stays under a budget: (1/k) sum_{j<k} T_j <= eta.

    Then a learner that defects when it believes to be deployed gains at most eta by it (schedules notes).
    T_j are upper confidence limits, `deviations` standard deviations up. k at most doubles a round: beyond
    what was played T_j is a guess. Where chunks of another length start in other states the budget may be exceeded
    for a round. `proven` takes only lengths that the evidence proves: the one played, where its T_j are measured,
    or what `certain_means` allows.
    """

    budget: Array | float  # eta
    deviations: float = struct.field(pytree_node=False, default=2.0)
    first: int = struct.field(pytree_node=False, default=1)  # k in round 1
    proven: bool = struct.field(pytree_node=False, default=False)

    def init(self, horizon: int) -> tuple[Array, Array]:
        require("budget", self.budget, 0, 1)
        return jnp.asarray(self.first), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        measured = distances(seen, self.deviations)
        if self.proven:
            within = certain_means(seen, self.deviations) <= self.budget
            k = jnp.where(within, jnp.arange(1, within.shape[0] + 1), 1).max()
            played = schedules.offsets(seen.starts).max() + 1
            mean = jnp.where(jnp.arange(within.shape[0]) < played, measured, 0.0).sum() / played
            k = jnp.maximum(k, jnp.where(mean <= self.budget, played, 1))
        else:
            k = jnp.minimum(longest_within(measured, self.budget), 2 * state)
        return k.astype(state.dtype), schedules.starts(seen.starts.shape[0], k)


class AdditiveIncrease(struct.PyTreeNode):
    """AIMD on a detector's AUC: k grows by `step` while the AUC is at most `target`, else shrinks by `factor`.

    The AUC is that of the best rule with two outcomes, 1/2 + T_k / 2 (theory 7.5; exact for a deterministic
    expert and a constant error), for the longest chunk played.
    """

    target: Array | float
    step: Array | float = 1.0
    factor: Array | float = 0.5
    first: int = struct.field(pytree_node=False, default=1)

    def init(self, horizon: int) -> tuple[Array, Array]:
        require("target", self.target, 0, 1)
        require("step", self.step, 0)
        require("factor", self.factor, 0, 1)
        return jnp.asarray(float(self.first)), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        parted, count = schedules.by_offset(1 - seen.agreement, seen.starts)
        auc = 0.5 + 0.5 * parted[jnp.maximum((count > 0).sum(), 1) - 1]
        horizon = seen.starts.shape[0]
        k = jnp.clip(jnp.where(auc <= self.target, state + self.step, state * self.factor), 1.0, horizon)
        return k.astype(state.dtype), schedules.starts(horizon, jnp.floor(k).astype(jnp.int32))


class Budget(struct.PyTreeNode):
    """The chunk length that a price list asks for, given the error last measured.

    A chunk costs c_r (to read and to take over) and c_w a step, so a budget B buys B k / (c_r + k c_w) labels;
    with a training term C labels^(-1/2) and detectability (k - 1) e / 2 the objective is
      f(k) = C sqrt((c_r + k c_w) / (B k)) + (k - 1) e / 2.
    For c_w k << c_r: f ~ C sqrt(c_r / B) k^(-1/2) + k e / 2, f' = 0 at k* = (C sqrt(c_r / B) / e)^(2/3).
    `exact` takes the argmin of f over 1..T instead of the closed form.
    """

    per_query: Array | float  # c_r
    per_step: Array | float  # c_w
    total: Array | float  # B, in the same unit
    scale: Array | float  # C
    exact: bool = struct.field(pytree_node=False, default=True)
    first: int = struct.field(pytree_node=False, default=1)

    def objective(self, k: Array, error: Array) -> Array:
        """f(k) at error e."""
        price = (self.per_query + k * self.per_step) / (self.total * k)
        return self.scale * jnp.sqrt(price) + (k - 1) * error / 2

    def choose(self, error: Array, horizon: int) -> Array:
        """k for a mean error a step, in 1..T."""
        error = jnp.maximum(error, 1e-9)
        if self.exact:
            return jnp.asarray(1 + self.objective(jnp.arange(1, horizon + 1), error).argmin())
        k = (self.scale * jnp.sqrt(self.per_query / self.total) / error) ** (2 / 3)
        return jnp.clip(jnp.round(k), 1, horizon).astype(jnp.int32)

    def init(self, horizon: int) -> tuple[Array, Array]:
        for name in ("per_query", "per_step"):
            require(name, getattr(self, name), -np.finfo(float).tiny)  # 0 is allowed
        for name in ("total", "scale"):
            require(name, getattr(self, name), 0)
        return jnp.zeros(()), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        horizon = seen.starts.shape[0]
        return state, schedules.starts(horizon, self.choose(seen.eps.mean(), horizon))


class JumpStart(struct.PyTreeNode):
    """JSRL's gate (arXiv 2204.02372), turned to chunks: the chunk halves while performance holds.

    Starting from one chunk of T steps, k is halved when the novice's cost, a moving average over `window`
    rounds, is at most (1 + tolerance) times the best average so far.
    """

    tolerance: Array | float = 0.1
    window: int = struct.field(pytree_node=False, default=2)

    def init(self, horizon: int) -> tuple[tuple[Array, Array, Array], Array]:
        costs = jnp.full(self.window, jnp.inf)
        return (jnp.asarray(horizon), costs, jnp.asarray(jnp.inf)), schedules.starts(horizon, horizon)

    def update(self, state: tuple[Array, Array, Array], seen: Seen) -> tuple[tuple[Array, Array, Array], Array]:
        k, costs, best = state
        costs = jnp.roll(costs, 1).at[0].set(seen.cost)
        average = costs.mean()
        holds = jnp.isfinite(average) & (average <= best * (1 + self.tolerance))
        k = jnp.where(holds, jnp.maximum(k // 2, 1), k)
        return (k, costs, jnp.minimum(best, average)), schedules.starts(seen.starts.shape[0], k)


class AdaptiveWindow(struct.PyTreeNode):
    """After ADWIN (arXiv 2605.28396): k doubles while a chunk's late part is like its early one.

    The mean errors of the first and the second half of the offsets are compared; if the later one exceeds the
    earlier by more than a factor 1 + `staleness`, the window halves, otherwise it doubles.
    """

    staleness: Array | float = 0.5
    first: int = struct.field(pytree_node=False, default=2)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.asarray(self.first), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        errors, count = schedules.by_offset(seen.eps, seen.starts)
        horizon = seen.starts.shape[0]
        offset = jnp.arange(horizon)
        early = (offset < (state + 1) // 2) & (count > 0)
        late = (offset >= (state + 1) // 2) & (count > 0)

        def mean(where: Array) -> Array:
            return (errors * where).sum() / jnp.maximum(where.sum(), 1)

        stale = mean(late) > (1 + self.staleness) * mean(early) + 1e-9
        k = jnp.clip(jnp.where(stale, state // 2, state * 2), 1, horizon)
        return k.astype(state.dtype), schedules.starts(horizon, k)


class ChangePoint(struct.PyTreeNode):
    """Chunks end where the error by offset changes: a BIC change point (local teachability, arXiv 2605.13643).

    One break in the mean of eps by offset against none, squared loss; where a break lowers the Bayesian
    information criterion k is the break, otherwise it doubles.
    """

    first: int = struct.field(pytree_node=False, default=4)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.asarray(self.first), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        errors, count = schedules.by_offset(seen.eps, seen.starts)
        horizon = seen.starts.shape[0]
        k = jnp.clip(jnp.where(state < 3, 2 * state, change_point(errors, (count > 0).sum())), 1, horizon)
        k = jnp.where(k >= state, 2 * state, k)
        return jnp.clip(k, 1, horizon).astype(state.dtype), schedules.starts(horizon, jnp.clip(k, 1, horizon))


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

"""Chunk lengths that react to evidence, inside the compiled outer loop (design 2).

A controller is `init(horizon) -> state` and `update(state, seen) -> (state, starts)`, pure: between rounds it
reads what the round showed and writes where the next round's chunks start. `starts` [T] replaces the row's
`join`. The first round's come from `init`, as the second part of its result. A controller of another column (DART's
noise) names it in `column`. Parameters out of their range raise a ValueError that names the field.
"""

from typing import Any, ClassVar, Protocol

import jax.numpy as jnp
from flax import struct

from dagger_jax import schedules, ties
from dagger_jax.checks import require
from dagger_jax.controllers.limits import Seen, certain_means, change_point, distances, longest_within, upper
from dagger_jax.controllers.noise import FittedNoise
from dagger_jax.types import Array, Node

__all__ = [
    "AdaptiveWindow",
    "AdditiveIncrease",
    "Budget",
    "ChangePoint",
    "Controller",
    "DetectabilityBudget",
    "FittedNoise",
    "Fixed",
    "JumpStart",
    "Seen",
    "certain_means",
    "change_point",
    "distances",
    "longest_within",
    "upper",
]


class Controller(Protocol):
    """See the module."""

    column: ClassVar[str]

    def init(self, horizon: int) -> tuple[Any, Array]: ...

    def update(self, state: Any, seen: Seen) -> tuple[Any, Array]: ...


class Fixed(Node):
    """Chunks of k steps, whatever is seen."""

    length: Array | int
    column: ClassVar[str] = "join"

    def __post_init__(self):
        require("Fixed.length", self.length, 1)

    def init(self, horizon: int) -> tuple[Array, Array]:
        starts = schedules.starts(horizon, jnp.asarray(self.length))
        return jnp.zeros(()), starts

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        return state, schedules.starts(seen.starts.shape[0], jnp.asarray(self.length))


class DetectabilityBudget(Node):
    """The longest chunk whose mean T_j stays under a budget: (1/k) sum_{j<k} T_j <= eta.

    Then a learner that defects when it believes to be deployed
    gains at most eta by it: docs/theory.md#the-scheming-bound.
    T_j are upper confidence limits, `deviations` standard deviations up, of how often the walkers part; under a
    stochastic expert that is more than a detector can know. Only lengths that the evidence proves are taken: the one
    played, where its T_j are measured, or what `certain_means` allows. Without `proven` T_j is continued beyond what
    was played, k at most doubles a round, and the budget may be exceeded for a round, where chunks of another length
    start in other states.
    """

    budget: Array | float  # eta
    deviations: float = struct.field(pytree_node=False, default=2.0)
    first: int = struct.field(pytree_node=False, default=1)  # k in round 1
    proven: bool = struct.field(pytree_node=False, default=True)
    column: ClassVar[str] = "join"

    def __post_init__(self):
        require("DetectabilityBudget.budget", self.budget, 0, 1, "()")
        require("DetectabilityBudget.deviations", self.deviations, 0, ends="[)")
        require("DetectabilityBudget.first", self.first, 1)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.asarray(self.first), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        measured = distances(seen, self.deviations)
        if self.proven:
            within = certain_means(seen, self.deviations) <= self.budget
            step = jnp.arange(within.shape[0])
            k = jnp.where(within, step + 1, 1).max()
            played = jnp.where(step < seen.horizon, schedules.offsets(seen.starts), 0).max() + 1
            mean = jnp.where(step < played, measured, 0.0).sum() / played
            k = jnp.maximum(k, jnp.where(mean <= self.budget, played, 1))
        else:
            k = jnp.minimum(longest_within(measured, self.budget), 2 * state)
        k = jnp.minimum(k, seen.horizon)
        return k.astype(state.dtype), schedules.starts(seen.starts.shape[0], k)


class AdditiveIncrease(Node):
    """AIMD on a detector's AUC: k grows by `step` while the AUC is at most `target`, else shrinks by `factor`.

    The AUC is that of the best rule with two outcomes, 1/2 + T_k / 2 (exact for a deterministic expert and a
    constant error: docs/theory.md#detectability-accuracy-and-auc), for the longest chunk played.
    """

    target: Array | float
    step: Array | float = 1.0
    factor: Array | float = 0.5
    first: int = struct.field(pytree_node=False, default=1)
    column: ClassVar[str] = "join"

    def __post_init__(self):
        require("AdditiveIncrease.target", self.target, 0, 1, "()")
        require("AdditiveIncrease.step", self.step, 0, ends="()")
        require("AdditiveIncrease.factor", self.factor, 0, 1, "()")
        require("AdditiveIncrease.first", self.first, 1)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.asarray(float(self.first)), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        parted, count = schedules.by_offset(1 - seen.agreement, seen.starts, seen.steps)
        auc = 0.5 + 0.5 * parted[jnp.maximum((count > 0).sum(), 1) - 1]
        k = jnp.clip(jnp.where(auc <= self.target, state + self.step, state * self.factor), 1.0, seen.horizon)
        return k.astype(state.dtype), schedules.starts(seen.starts.shape[0], jnp.floor(k).astype(jnp.int32))


class Budget(Node):
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
    column: ClassVar[str] = "join"

    def __post_init__(self):
        for name, ends in (("per_query", "[)"), ("per_step", "[)"), ("total", "()"), ("scale", "()")):
            require(f"Budget.{name}", getattr(self, name), 0, ends=ends)
        require("Budget.first", self.first, 1)

    def objective(self, k: Array, error: Array) -> Array:
        """f(k) at error e."""
        price = (self.per_query + k * self.per_step) / (self.total * k)
        return self.scale * jnp.sqrt(price) + (k - 1) * error / 2

    def choose(self, error: Array, horizon: Array | int, longest: int | None = None) -> Array:
        """k for a mean error a step, in 1..T; `longest`, where T is data: what it is at most."""
        error = jnp.maximum(error, 1e-9)
        if self.exact:
            k = jnp.arange(1, 1 + (longest or horizon))
            objective = jnp.where(k <= horizon, self.objective(k, error), jnp.inf)
            return jnp.asarray(1 + ties.first_least(objective, ties.rounding(objective)))
        k = (self.scale * jnp.sqrt(self.per_query / self.total) / error) ** (2 / 3)
        return jnp.clip(jnp.round(k), 1, horizon).astype(jnp.int32)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.zeros(()), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        longest = seen.starts.shape[0]
        k = self.choose(seen.eps.sum() / seen.horizon, seen.horizon, longest)
        return state, schedules.starts(longest, k)


class JumpStart(Node):
    """JSRL's gate (arXiv 2204.02372), turned to chunks: the chunk halves while performance holds.

    Starting from one chunk of T steps, k is halved when the novice's cost, a moving average over `window`
    rounds, is at most (1 + tolerance) times the best average so far.
    """

    tolerance: Array | float = 0.1
    window: int = struct.field(pytree_node=False, default=2)
    column: ClassVar[str] = "join"

    def __post_init__(self):
        require("JumpStart.tolerance", self.tolerance, 0)
        require("JumpStart.window", self.window, 1)

    def init(self, horizon: int) -> tuple[tuple[Array, Array, Array], Array]:
        costs = jnp.full(self.window, jnp.inf)
        return (jnp.asarray(horizon), costs, jnp.asarray(jnp.inf)), schedules.starts(horizon, horizon)

    def update(self, state: tuple[Array, Array, Array], seen: Seen) -> tuple[tuple[Array, Array, Array], Array]:
        k, costs, best = state
        k = jnp.minimum(k, seen.horizon)
        costs = jnp.roll(costs, 1).at[0].set(seen.cost)
        average = costs.mean()
        holds = jnp.isfinite(average) & (average <= best * (1 + self.tolerance))
        k = jnp.where(holds, jnp.maximum(k // 2, 1), k)
        return (k, costs, jnp.minimum(best, average)), schedules.starts(seen.starts.shape[0], k)


class AdaptiveWindow(Node):
    """After ADWIN (arXiv 2605.28396): k doubles while a chunk's late part is like its early one.

    The mean errors of the first and the second half of the offsets are compared; if the later one exceeds the
    earlier by more than a factor 1 + `staleness`, the window halves, otherwise it doubles.
    """

    staleness: Array | float = 0.5
    first: int = struct.field(pytree_node=False, default=2)
    column: ClassVar[str] = "join"

    def __post_init__(self):
        require("AdaptiveWindow.staleness", self.staleness, 0)
        require("AdaptiveWindow.first", self.first, 1)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.asarray(self.first), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        errors, count = schedules.by_offset(seen.eps, seen.starts, seen.steps)
        offset = jnp.arange(seen.starts.shape[0])
        early = (offset < (state + 1) // 2) & (count > 0)
        late = (offset >= (state + 1) // 2) & (count > 0)

        def mean(where: Array) -> Array:
            return (errors * where).sum() / jnp.maximum(where.sum(), 1)

        stale = mean(late) > (1 + self.staleness) * mean(early) + 1e-9
        k = jnp.clip(jnp.where(stale, state // 2, state * 2), 1, seen.horizon)
        return k.astype(state.dtype), schedules.starts(seen.starts.shape[0], k)


class ChangePoint(Node):
    """Chunks end where the error by offset changes: a BIC change point (local teachability, arXiv 2605.13643).

    One break in the mean of eps by offset against none, squared loss; where a break lowers the Bayesian
    information criterion k is the break, otherwise it doubles.
    """

    first: int = struct.field(pytree_node=False, default=4)
    column: ClassVar[str] = "join"

    def __post_init__(self):
        require("ChangePoint.first", self.first, 1)

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.asarray(self.first), schedules.starts(horizon, self.first)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        errors, count = schedules.by_offset(seen.eps, seen.starts, seen.steps)
        horizon = seen.horizon
        k = jnp.clip(jnp.where(state < 3, 2 * state, change_point(errors, (count > 0).sum())), 1, horizon)
        k = jnp.where(k >= state, 2 * state, k)
        k = jnp.clip(k, 1, horizon)
        return k.astype(state.dtype), schedules.starts(seen.starts.shape[0], k)

"""Ways to choose chunk lengths: fixed, by a schedule over rounds, by a controller, or as published."""

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from dagger_jax import controllers
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.algorithms import schedule as written
from dagger_jax.controllers import Seen
from dagger_jax.tabular import labels
from dagger_jax.types import Array, Node, Schedule

ETA = 0.05  # the detectability budget
PER_STEP = 1.0  # price of a label: the unit
PER_QUERY = 4.0  # labels that a hand-over costs, where nothing else is said
CUT = "accumulated disagreement"  # chunks end where the learner has disagreed too much
PRICE_LIST = "price list"  # the controller that is told what a hand-over costs


class Method(NamedTuple):
    """A way to choose chunk lengths: a schedule over rounds, perhaps rewritten by a controller."""

    kind: str  # fixed, schedule, controller or published
    schedule: Schedule
    controller: Any = None
    gate: Any = None
    label: labels.Label = labels.imitate


@cache  # optax's schedules are evaluated once
def methods(horizon: int, rounds: int, episodes: int = 1, per_query: float = PER_QUERY) -> dict[str, Method]:
    """Every fixed length that is a power of two or T, round schedules from optax, controllers, published strategies.

    `per_query` is the price of a hand-over, in labels, that the price list is told.
    """

    def over(text: str) -> Schedule:
        return written(text, rounds, horizon)

    fixed = {f"k = {k}": Method("fixed", over(f"chunk:{k}")) for k in _lengths(horizon)}
    changing = {
        "linear, T to 1": f"linear:{horizon}..1",
        "linear, 1 to T": f"linear:1..{horizon}",
        "exponential, T to 1": f"exponential:{horizon}..1",
        "exponential, 1 to T": f"exponential:1..{horizon}",
        "cosine, T to 1": f"cosine:{horizon}..0",
        "inverse sigmoid, T to 1": f"inverse_sigmoid:{horizon}..0",
        "step, T then 1": f"step:{horizon}..1",
    }
    start = over("chunk:1")
    total = rounds * episodes * (per_query + PER_STEP * horizon)
    reacting: dict[str, Any] = {
        "detectability budget": controllers.DetectabilityBudget(ETA),
        "AIMD on the AUC": controllers.AdditiveIncrease(0.5 + ETA),
        PRICE_LIST: controllers.Budget(per_query, PER_STEP, total, scale=1.0),
        "jump start": controllers.JumpStart(),
        "adaptive window": controllers.AdaptiveWindow(),
        "change point": controllers.ChangePoint(),
    }
    return (
        fixed
        | {name: Method("schedule", over(text)) for name, text in changing.items()}
        | {name: Method("controller", start, controller) for name, controller in reacting.items()}
        | {CUT: Method("controller", over(f"patience:{ETA}"))}
        | {
            name.replace("_", " "): Method("published", each.build(rounds, horizon, 1), None, each.gate, each.label)
            for name, each in ALGORITHMS.items()
            if each.strategy and each.controller is None  # controllers above
        }
    )


def _lengths(horizon: int) -> list[int]:
    return [2**n for n in range(horizon.bit_length()) if 2**n < horizon] + [horizon]


class Either(Node):
    """One of several controllers, by a number that is data: all of them share one compiled program."""

    which: Array | int
    options: tuple[Any, ...]
    column: ClassVar[str] = "join"

    def init(self, horizon: int) -> tuple[tuple[Any, ...], Array]:
        """All states, and the first starts of the one."""
        return self._chosen([option.init(horizon) for option in self.options])

    def update(self, state: tuple[Any, ...], seen: Seen) -> tuple[tuple[Any, ...], Array]:
        """All states after the one's round, and its starts."""
        return self._chosen([option.update(own, seen) for option, own in zip(self.options, state, strict=True)])

    def _chosen(self, each: Sequence[tuple[Any, Array]]) -> tuple[tuple[Any, ...], Array]:
        states, starts = zip(*each, strict=True)
        return states, jnp.stack([start.astype(jnp.float32) for start in starts])[self.which]

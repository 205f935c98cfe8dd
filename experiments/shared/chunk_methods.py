"""Ways to choose chunk lengths: fixed, by a schedule over rounds, by a controller, or as published."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dagger_jax import controllers, labels, schedules
from dagger_jax.controllers import Seen
from dagger_jax.strategies import STRATEGIES, inverse_sigmoid, over_rounds
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


def methods(horizon: int, rounds: int, episodes: int = 1, per_query: float = PER_QUERY) -> dict[str, Method]:
    """Every fixed length that is a power of two or T, round schedules from optax, controllers, published strategies.

    `per_query` is the price of a hand-over, in labels, that the price list is told.
    """

    def over(schedule: Any) -> Schedule:
        lengths = over_rounds(schedule, rounds, horizon)
        starts = jax.vmap(lambda k: schedules.starts(horizon, k))(lengths)
        return schedules.chunked(rounds, starts, schedules.beta_indicator(rounds))

    last, half = rounds - 1, rounds // 2
    fixed = {f"k = {k}": Method("fixed", over(float(k))) for k in _lengths(horizon)}
    changing = {
        "linear, T to 1": optax.linear_schedule(horizon, 1, last),
        "linear, 1 to T": optax.linear_schedule(1, horizon, last),
        "exponential, T to 1": optax.exponential_decay(horizon, last, 1 / horizon),
        "exponential, 1 to T": optax.exponential_decay(1, last, horizon),
        "cosine, T to 1": optax.cosine_decay_schedule(horizon, last),
        "inverse sigmoid, T to 1": lambda n: horizon * inverse_sigmoid(max(1.0, rounds / 6))(n),
        "step, T then 1": optax.piecewise_constant_schedule(horizon, {half: 1 / horizon}),
    }
    start = over(1.0)
    total = rounds * episodes * (per_query + PER_STEP * horizon)
    reacting: dict[str, Any] = {
        "detectability budget": controllers.DetectabilityBudget(ETA),
        "AIMD on the AUC": controllers.AdditiveIncrease(0.5 + ETA),
        PRICE_LIST: controllers.Budget(per_query, PER_STEP, total, scale=1.0),
        "jump start": controllers.JumpStart(),
        "adaptive window": controllers.AdaptiveWindow(),
        "change point": controllers.ChangePoint(),
    }
    patient = start._replace(
        join=jnp.broadcast_to(schedules.starts(horizon, horizon) * 1.0, start.join.shape),
        patience=jnp.full(start.join.shape, ETA),
    )
    return (
        fixed
        | {name: Method("schedule", over(schedule)) for name, schedule in changing.items()}
        | {name: Method("controller", start, controller) for name, controller in reacting.items()}
        | {CUT: Method("controller", patient)}
        | {
            name.replace("_", " "): Method("published", each.build(rounds, horizon), *each[2:])
            for name, each in STRATEGIES.items()
            if name not in ("jsrl_gated", "adwin", "change_point")  # controllers above
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

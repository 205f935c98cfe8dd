"""Schedules that are written down: NAME:ARGUMENTS."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import optax

from dagger_jax import schedules
from dagger_jax.strategies import inverse_sigmoid, over_rounds
from dagger_jax.types import Array, Schedule

Rule = Callable[[int, int], Schedule]  # (rounds, horizon) -> [N, T]


# ---- schedules from a few numbers -----------------------------------------------------------------------------------


def _chunked(lengths: Array, horizon: int) -> Schedule:
    """Chunks of k_n steps in round n, k [N]; the expert alone acts in the first round's roll-in."""
    return schedules.chunked(len(lengths), schedules.starts(horizon, lengths), schedules.beta_indicator(len(lengths)))


# From a length in the first round to one in the last, in steps: (begin, end, rounds) -> the length in round n.
Curve = Callable[[float, float, int], optax.Schedule]
CURVES: Mapping[str, tuple[Curve, str]] = {
    "linear": (lambda begin, end, rounds: optax.linear_schedule(begin, end, max(1, rounds - 1)), "by equal steps"),
    "exponential": (
        lambda begin, end, rounds: optax.exponential_decay(begin, max(1, rounds - 1), end / begin),
        "by an equal factor",
    ),
    "cosine": (
        lambda begin, end, rounds: optax.cosine_decay_schedule(begin, max(1, rounds - 1), end / begin),
        "half a cosine",
    ),
    "inverse_sigmoid": (
        lambda begin, end, rounds: lambda n: end + (begin - end) * inverse_sigmoid(max(1.0, rounds / 6))(n),
        "scheduled sampling's decay",
    ),
    "step": (
        lambda begin, end, rounds: optax.piecewise_constant_schedule(begin, {rounds // 2: end / begin}),
        "at once, after half of the rounds",
    ),
}


# ---- forms: NAME:ARGUMENTS, each read from the text after the colon --------------------------------------------------


def _chunk(given: str) -> Rule:
    length = number(given, int, 1)
    return lambda rounds, horizon: _chunked(over_rounds(length, rounds, horizon), horizon)


def _geometric(given: str) -> Rule:
    mean = number(given, float, 1)
    return lambda rounds, horizon: schedules.chunked(
        rounds, schedules.geometric(horizon, mean), schedules.beta_indicator(rounds)
    )


def _partition(given: str) -> Rule:
    pattern = [number(each, int, 1) for each in given.split("+")]

    def rule(rounds: int, horizon: int) -> Schedule:
        ends = np.cumsum(np.resize(pattern, horizon))  # at least one step each, so these are enough
        starts = schedules.forks(horizon, ends[ends < horizon])
        return schedules.chunked(rounds, starts, schedules.beta_indicator(rounds))

    return rule


def _patience(given: str) -> Rule:
    most = number(given, float, 0)

    def rule(rounds: int, horizon: int) -> Schedule:
        whole = _chunked(over_rounds(horizon, rounds, horizon), horizon)
        return whole._replace(patience=np.full(whole.join.shape, most, whole.join.dtype))

    return rule


def _curve(curve: Curve) -> Callable[[str], Rule]:
    def read(given: str) -> Rule:
        begin, dots, end = given.partition("..")
        first, last = number(begin, float, 1), number(end, float, 0) if dots else number("", float, 0)
        return lambda rounds, horizon: _chunked(over_rounds(curve(first, last, rounds), rounds, horizon), horizon)

    return read


def number(text: str, kind: type[Any], least: float) -> Any:
    """A text as a whole number or a real one; ValueError where it is none, or less than `least`."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value < np.inf:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{text!r} is not {what} from {least:g}")
    return value


class Form(NamedTuple):
    """A way to write a schedule."""

    read: Callable[[str], Rule]
    example: str
    about: str  # one line


FORMS: Mapping[str, Form] = {
    "chunk": Form(_chunk, "chunk:4", "chunks of so many steps, as in `chunked`"),
    "geometric": Form(_geometric, "geometric:8", "chunks of random length with this mean"),
    "partition": Form(_partition, "partition:3+5+8", "chunks of these lengths, repeated, and cut at the horizon"),
    "patience": Form(_patience, "patience:0.5", "a chunk ends before the learner's summed error would exceed this"),
    **{
        name: Form(_curve(curve), f"{name}:1..16", f"chunk lengths from one to another over the rounds: {about}")
        for name, (curve, about) in CURVES.items()
    },
}

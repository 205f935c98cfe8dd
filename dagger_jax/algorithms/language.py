"""The registry of algorithms, and the language in which a text names an algorithm or a schedule."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import controllers, names, schedules
from dagger_jax.algorithms.published import PUBLISHED
from dagger_jax.algorithms.rollouts import STRATEGIES
from dagger_jax.algorithms.row import Algorithm
from dagger_jax.controllers import Controller
from dagger_jax.environments import npz
from dagger_jax.strategies import inverse_sigmoid, over_rounds
from dagger_jax.types import Array, Schedule

ALGORITHMS: Mapping[str, Algorithm] = {**PUBLISHED, **STRATEGIES}

Rule = Callable[[int, int], Schedule]  # (rounds, horizon) -> [N, T]


# ---- schedules from a few numbers -----------------------------------------------------------------------------------


def _chunked(lengths: Array, horizon: int) -> Schedule:
    """Chunks of k_n steps in round n, k [N]; the expert alone acts in the first round's roll-in."""
    starts = jax.vmap(lambda k: schedules.starts(horizon, k))(lengths)
    return schedules.chunked(len(lengths), starts, schedules.beta_indicator(len(lengths)))


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
    length = _number(given, int, 1)
    return lambda rounds, horizon: _chunked(over_rounds(length, rounds, horizon), horizon)


def _geometric(given: str) -> Rule:
    mean = _number(given, float, 1)
    return lambda rounds, horizon: schedules.chunked(
        rounds, schedules.geometric(horizon, mean), schedules.beta_indicator(rounds)
    )


def _partition(given: str) -> Rule:
    pattern = [_number(each, int, 1) for each in given.split("+")]

    def rule(rounds: int, horizon: int) -> Schedule:
        ends = np.cumsum(np.resize(pattern, horizon))  # at least one step each, so these are enough
        starts = schedules.forks(horizon, ends[ends < horizon])
        return schedules.chunked(rounds, starts, schedules.beta_indicator(rounds))

    return rule


def _patience(given: str) -> Rule:
    most = _number(given, float, 0)

    def rule(rounds: int, horizon: int) -> Schedule:
        whole = _chunked(over_rounds(horizon, rounds, horizon), horizon)
        return whole._replace(patience=jnp.full(whole.join.shape, most))

    return rule


def _curve(curve: Curve) -> Callable[[str], Rule]:
    def read(given: str) -> Rule:
        begin, dots, end = given.partition("..")
        first, last = _number(begin, float, 1), _number(end, float, 0) if dots else _number("", float, 0)
        return lambda rounds, horizon: _chunked(over_rounds(curve(first, last, rounds), rounds, horizon), horizon)

    return read


def _number(text: str, kind: type[Any], least: float) -> Any:
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


def _aimd(auc: float = 0.6, **more: Any) -> Controller:
    return controllers.AdditiveIncrease(auc, **more)


CONTROLLERS: Mapping[str, Callable[..., Controller]] = {
    "adaptive_window": controllers.AdaptiveWindow,
    "aimd": _aimd,
    "budget": controllers.Budget,
    "change_point": controllers.ChangePoint,
    "detectability_budget": controllers.DetectabilityBudget,
    "jump_start": controllers.JumpStart,
}


def _controlled(make: Callable[..., Controller], given: str) -> Controller:
    values = dict[str, Any]()
    for each in filter(None, given.split(";")):
        name, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"{each!r} is not of the form name=value")
        whole = value.strip().isdigit()
        values[name.strip()] = _number(value, int if whole else float, -np.inf)
    try:
        return make(**values)
    except TypeError as error:
        raise ValueError(str(error).partition(") ")[2] or str(error)) from error


# ---- what a text names ----------------------------------------------------------------------------------------------


def find(text: str, kind: str = "algorithms") -> Algorithm:
    """The algorithm that a text names.

    Args:
      text: one of
        a row of `ALGORITHMS`, with its chunk length after a colon where it has one: dagger, reset:4;
        a schedule that is written down (`FORMS`): chunk:4, geometric:8, linear:1..16, partition:3+5+8, patience:0.5;
        a controller (`CONTROLLERS`) of chunk lengths, with its parameters: aimd:auc=0.6;step=2;
        the path of an .npz file that holds a schedule's columns, each [N, T] or what broadcasts against it;
        module:name of an `Algorithm`, a `Schedule`, or a function (rounds, horizon) -> `Schedule`.
      kind: what a message calls them.

    Raises:
      ValueError: in one line, where it names nothing.
    """
    head, colon, given = text.partition(":")
    try:
        if head in ALGORITHMS:
            return _at(ALGORITHMS[head], _number(given, int, 1)) if colon else ALGORITHMS[head]
        if head in FORMS:
            return _ruled(text, FORMS[head].read(given))
        if head in CONTROLLERS:
            return ALGORITHMS["chunked"]._replace(
                source=text, controller=_controlled(CONTROLLERS[head], given), chunked=False
            )
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error
    if text.endswith(".npz"):
        return _ruled(text, lambda rounds, horizon: _read(text, rounds, horizon))
    found = names.find(kind, text, {**ALGORITHMS, **FORMS, **CONTROLLERS})
    if isinstance(found, Algorithm):
        build = lambda rounds, horizon, chunk: found.build(rounds, horizon, chunk)  # whatever its arguments are called
        return found._replace(
            build=lambda rounds, horizon, chunk: names.call(text, build, rounds=rounds, horizon=horizon, chunk=chunk)
        )
    if isinstance(found, Schedule):
        return _ruled(text, lambda rounds, horizon: found)
    if callable(found):
        return _ruled(text, lambda rounds, horizon: names.call(text, found, rounds=rounds, horizon=horizon))
    raise ValueError(
        f"{text} is {type(found).__name__}: it must be an Algorithm, a Schedule or a function that makes one"
    )


def schedule(text: str, rounds: int, horizon: int) -> Schedule:
    """The schedule [N, T] that a text names: see `find`.

    It is the table alone: label, learner and gate of an algorithm's row are not in it. A written length that is longer
    than the horizon is one chunk; the lengths of `partition` are repeated until the horizon, and the last one is cut.

    Args:
      text: a row, a written schedule, a path or module:name.
      rounds: N.
      horizon: T, steps.

    Raises:
      ValueError: it names nothing, needs a run (a controller), or does not fit rounds and horizon.
    """
    row = find(text, "schedules")
    if row.controller is not None:
        raise ValueError(
            f"{text} chooses between rounds, by what it sees: that needs a run and is no table; use dj.train"
        )
    if row.chunked:
        raise ValueError(f"{text} needs a chunk length in steps, such as {text}:4")
    if row.per_step and rounds != horizon:
        raise ValueError(f"{text} trains one step per round: rounds must be the horizon {horizon}, got {rounds}")
    return built(text, row, rounds, horizon)


def built(text: str, row: Algorithm, rounds: int, horizon: int, chunk: int = 1) -> Schedule:
    """A row's schedule, checked: ValueError where it is none of these rounds and steps. `text` begins a message."""
    made: Any = row.build(rounds, horizon, chunk)
    if not isinstance(made, Schedule):
        raise ValueError(f"{text} makes {type(made).__name__}, not a Schedule")
    try:
        schedules.validate(made)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error
    if made.beta.shape != (rounds, horizon):
        raise ValueError(f"{text} has {list(made.beta.shape)} rounds and steps, not [{rounds}, {horizon}]")
    return made


def _ruled(text: str, rule: Rule) -> Algorithm:
    return Algorithm(lambda rounds, horizon, chunk: rule(rounds, horizon), source=text, title=text)


def _at(row: Algorithm, chunk: int) -> Algorithm:
    """The row at one chunk length."""
    if not row.chunked:
        raise ValueError("this algorithm has no chunk length")
    build, judged_by = row.build, row.judged_by
    return row._replace(
        build=lambda rounds, horizon, _: build(rounds, horizon, chunk),
        judged_by=lambda horizon, _: judged_by(horizon, chunk),
        chunked=False,
    )


def _read(path: str, rounds: int, horizon: int) -> Schedule:
    def check(known: Mapping[str, npz.Header]) -> None:
        if unknown := sorted(set(known) - set(Schedule._fields)):
            raise ValueError(f"holds {unknown[0][:40]}, which is no column; allowed: {', '.join(Schedule._fields)}")
        for name, header in known.items():
            if header.dtype.kind not in "fiub" or len(header.shape) > 2 or math.prod(header.shape) > rounds * horizon:
                shape, most = list(header.shape), [rounds, horizon]
                raise ValueError(f"holds {name} as {header.dtype} {shape}: it must be real numbers, at most {most}")

    try:
        with Path(path).expanduser().open("rb") as stream:
            columns = npz.read(stream, check)
        return schedules.table(rounds, horizon, **columns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error

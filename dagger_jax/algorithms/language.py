"""The registry of algorithms, and what a text names: a row of it, a written schedule, a controller, a user's own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dagger_jax import controllers, names, schedules
from dagger_jax.algorithms.forms import FORMS, Rule, number
from dagger_jax.algorithms.published import PUBLISHED
from dagger_jax.algorithms.rollouts import STRATEGIES
from dagger_jax.algorithms.row import Algorithm
from dagger_jax.controllers import Controller
from dagger_jax.tabular import npz
from dagger_jax.types import Schedule

ALGORITHMS: Mapping[str, Algorithm] = {**PUBLISHED, **STRATEGIES}


def _aimd(auc: float = 0.6, step: float = 1.0, factor: float = 0.5, first: int = 1) -> Controller:
    """AIMD on a detector's AUC: k grows by `step` while the AUC is at most `auc`, else shrinks by `factor`."""
    return controllers.AdditiveIncrease(auc, step, factor, first)


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
        values[name.strip()] = number(value, int if whole else float, -np.inf)
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
        if head in ALGORITHMS and "=" not in given:
            return _at(ALGORITHMS[head], number(given, int, 1)) if colon else ALGORITHMS[head]
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
    if made.join.shape != (rounds, horizon):
        raise ValueError(f"{text} has {list(made.join.shape)} rounds and steps, not [{rounds}, {horizon}]")
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
            wanted = (rounds,) if name in ("mixing_rate", "retain") else (rounds, horizon)
            # Axes of one entry, and those that lack in front, are repeated.
            fits = all(own in (1, full) for own, full in zip(header.shape[::-1], wanted[::-1], strict=False))
            if header.dtype.kind not in "fiub" or len(header.shape) > len(wanted) or not fits:
                shape = list(header.shape)
                raise ValueError(f"holds {name} as {header.dtype} {shape}: it must be real numbers {list(wanted)}")

    try:
        with Path(path).expanduser().open("rb") as stream:
            columns = npz.read(stream, check)
        return schedules.table(rounds, horizon, **columns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error

"""Programs timed in turn, so that what else a machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from .peers import Absent


class Taken(NamedTuple):
    """What a call took."""

    first_seconds: float  # the first one, compiling included
    seconds: float  # the others, median
    cpu_seconds: float  # of all threads, median


def in_turn(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Taken | str]:
    """Times calls, each `repeats` times after the first, one after the other and then all of them again.

    Returns:
      By name; why there is no such thing here, where the first call raises `Absent`.
    """
    found: dict[str, Taken | str] = {}
    taken: dict[str, list[tuple[float, float]]] = {}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            if name in found:
                continue
            begun, worked = time.perf_counter(), time.process_time()
            try:
                jax.block_until_ready(call())
            except Absent as absent:
                if turn:
                    raise
                found[name] = str(absent)
                continue
            taken.setdefault(name, []).append((time.perf_counter() - begun, time.process_time() - worked))
    for name, times in taken.items():
        seconds, worked = (statistics.median(each) for each in zip(*times[1:], strict=True))
        found[name] = Taken(times[0][0], seconds, worked)
    return {name: found[name] for name in calls}

"""Whether what is asked for fits into memory, told before anything is measured."""

import math
from dataclasses import replace
from typing import Any

from dagger_jax import memory
from experiments.claim.contract import BadFlag, Claim, Need, Settings

# Bytes, measured: a value of a point as Python has it, twice over, and of its table; a block of work with its table.
_VALUE, _BLOCK = 250, 20_000


def points(count: float, columns: int = 30) -> Need:
    """The memory of so many points, COLUMNS included."""
    return Need(f"{count:,.0f} points", count * columns * _VALUE, device=False)


def blocks(count: float) -> Need:
    """The memory of so many blocks of work."""
    return Need(f"{count:,.0f} blocks of work", count * _BLOCK, device=False)


def check(claim: Claim, settings: Settings) -> None:
    """Refuses what does not fit.

    Args:
        claim: the experiment.
        settings: those asked for.

    Raises:
        BadFlag: the flag that takes most beyond its default, what it needs, what is free, and what would fit.
    """
    free = {False: memory.host(), True: memory.device()}
    free[True] = free[False] if free[True] is None else free[True]

    def worst(values: dict[str, Any]) -> tuple[float, Need | None]:
        """How often the free memory is needed."""
        needs = claim.memory(replace(settings, values=values))
        return max(((each.size / max(free[each.device], 1), each) for each in needs), default=(0.0, None))

    values, usual = dict(settings.values), {"runs": 1, **claim.sweep[settings.preset]}
    asked, need = worst(values)
    if need is None or asked <= 1:
        return
    less = {name: worst(values | {name: usual[name]})[0] for name in usual if values[name] != usual[name]}
    flag = min(less, key=less.__getitem__, default="preset")
    value, most = values[flag], usual.get(flag)
    allowed = "less, or less of other flags"
    if isinstance(value, int) and isinstance(most, int) and most < value and less[flag] <= 1:
        over = value
        while over - most > max(1, most // 100):
            middle = math.isqrt(most * over) if most and over // most > 4 else (most + over) // 2
            most, over = (middle, over) if worst(values | {flag: middle})[0] <= 1 else (most, middle)
        allowed = f"{most} or less, other flags as they are"
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
    words = f"needs about {memory.words(need.size)} of memory for {need.what}"
    raise BadFlag(flag, f"{shown} {words}, and {memory.words(free[need.device])} are free; allowed: {allowed}")

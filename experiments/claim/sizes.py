"""Whether what is asked for fits into memory, told before anything is measured."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dagger_jax import memory

from . import inputs
from .contract import BadFlag, Claim, Need, Settings

# Bytes, measured: a value of a point as Python has it (some are null), and of a table; a block of work with its table.
_VALUE, _PACKED, _BLOCK = 80, 10, 20_000


def points(count: float, columns: int = 30, at_once: float | None = None) -> Need:
    """The memory of so many points, COLUMNS included; all are Python's at once, or so many, the others a table's."""
    most = count if at_once is None else at_once
    return Need(f"{count:,.0f} points", columns * (most * _VALUE + count * _PACKED), device=False)


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
    fit(settings.values, {"runs": 1, **claim.sweep[settings.preset]}, claim.memory)


def fit(values: Mapping[str, Any], usual: Mapping[str, Any], memory_of: Callable[[Settings], Iterable[Need]]) -> None:
    """As `check`, of settings' values, the defaults, and what settings need."""
    host, own = memory.host(), memory.device()
    free = {False: host, True: host if own is None else own}

    def worst(values: Mapping[str, Any]) -> tuple[float, Need | None]:
        """How often the free memory is needed."""
        needs = memory_of(Settings(values))
        return max(
            ((each.size / max(free[each.device], 1), each) for each in needs),
            key=lambda pair: pair[0],
            default=(0.0, None),
        )

    asked, need = worst(values)
    if need is None or asked <= 1:
        return
    less = {name: worst({**values, name: usual[name]})[0] for name in usual if values[name] != usual[name]}
    flag = min(less, key=less.__getitem__, default="preset")
    value, most = values.get(flag, ""), usual.get(flag)
    allowed = "less, or less of other flags"
    if isinstance(value, int) and isinstance(most, int) and most < value and less[flag] <= 1:
        over = value
        while over - most > max(1, most // 100):
            middle = math.isqrt(most * over) if over // max(most, 1) > 4 else (most + over) // 2
            most, over = (middle, over) if worst({**values, flag: middle})[0] <= 1 else (most, middle)
        allowed = f"{most} or less, other flags as they are"
    words = f"needs about {memory.words(need.size)} of memory for {need.what}"
    raise BadFlag(flag, f"{_shown(value)} {words}, and {memory.words(free[need.device])} are free; allowed: {allowed}")


def _shown(value: Any) -> str:
    return ",".join(map(inputs.named, map(str, value))) if isinstance(value, tuple) else str(value)

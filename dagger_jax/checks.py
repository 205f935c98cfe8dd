"""What is known when something is built: numbers that make no sense are refused there, by the name of their field."""

import warnings
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np


def known(value: Any) -> np.ndarray | None:
    """The value, if it can be looked at: None for a traced one."""
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)


def namespace(*values: Any) -> Any:
    """NumPy where all values are known, `jax.numpy` where one is traced: what is known is built without compiling."""
    return jnp if any(isinstance(value, jax.core.Tracer) for value in values) else np


def require(name: str, value: object, low: float, high: float = np.inf, ends: str = "[]") -> None:
    """Refuses what is not in an interval; `ends` says whether its ends belong to it, "[)" for low <= value < high.

    Only numbers of Python and NumPy are looked at. JAX builds trees anew with tracers, with gradients, with whatever
    stands for a leaf: all that passes. An array of JAX is looked at where it comes through `known`.

    Raises:
      ValueError: naming the field, what is allowed, and what was given.
    """
    if not isinstance(value, int | float | np.number | np.ndarray) or np.asarray(value).dtype.kind not in "iuf":
        return
    values = np.asarray(value)
    above = values >= low if ends[0] == "[" else values > low
    below = values <= high if ends[1] == "]" else values < high
    if not (above & below).all():
        raise ValueError(f"{name} must lie in {ends[0]}{low:g}, {high:g}{ends[1]}, got {values.tolist()}")


TOLERANCE = 1e-4 * (1 + 1e-6)  # of probabilities, their sums and costs: tables are printed with few digits
ROUNDING = 5e-7  # beyond it a correction is told; float32 is nearer


def inside(name: str, array: np.ndarray, *, source: str = "", over_time: bool = True) -> np.ndarray:
    """An array of entries in [0, 1], those outside by TOLERANCE at most put back; a warning tells more than ROUNDING.

    Args:
      name: of the array.
      array: float64.
      source: said before a warning.
      over_time: whether the first axis belongs to the index that a message names.

    Raises:
      ValueError: naming the first entry that is further out, or not finite.
    """
    for words, bad in (("it must be finite", ~np.isfinite(array)), ("it must lie in [0, 1]", _outside(array))):
        if index := first(bad):
            value = array[index]
            raise ValueError(f"{name}{_place(index, over_time)} is {value:.9g}: {words}")
    off = max(-array.min(initial=0), array.max(initial=1) - 1)
    if off == 0:
        return array
    if off > ROUNDING:
        warnings.warn(f"{source}{name} has entries outside [0, 1] by up to {off:.2g}: they are clipped", stacklevel=3)
    return array.clip(0, 1)


def laws(name: str, array: np.ndarray, *, source: str = "", over_time: bool = True) -> np.ndarray:
    """Laws along the last axis, divided by their sums; these are 1 up to TOLERANCE. Else as `inside`.

    Raises:
      ValueError: naming the first entry outside [0, 1], or the first law that does not sum to 1.
    """
    array = inside(name, array, source=source, over_time=over_time)
    sums = array.sum(-1, keepdims=True)
    off = np.abs(sums - 1)
    if index := first(off > TOLERANCE):
        place = _place(index[:-1], over_time) if array.ndim > 1 else ""
        raise ValueError(f"{name}{place} sums to {sums[index]:.9g}: probabilities must sum to 1")
    if (most := off.max(initial=0)) > ROUNDING:
        warnings.warn(f"{source}{name} sums to 1 within {most:.2g} only: it is normalised", stacklevel=3)
    return array / sums


def first(bad: np.ndarray) -> tuple[int, ...] | None:
    """The index of the first True, or None."""
    place = int(bad.argmax()) if bad.size else 0
    return tuple(map(int, np.unravel_index(place, bad.shape))) if bad.any() else None


def _outside(array: np.ndarray) -> np.ndarray:
    return (array < -TOLERANCE) | (array > 1 + TOLERANCE)


def _place(index: tuple[int, ...], over_time: bool) -> str:
    return str(list(index if over_time else index[1:]))

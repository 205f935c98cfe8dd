"""Numbers that make no sense are refused where something is built from them, by the name of their field."""

import jax.core
import numpy as np

from dagger_jax.types import Array


def known(value: Array | float) -> np.ndarray | None:
    """The value, if it can be looked at: None for a traced one."""
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)


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

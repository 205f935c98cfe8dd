"""Exact mode computes in float64, and matrix products in the precision of their factors: no switch is global."""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

# Of float32 matrix products: GPUs and TPUs otherwise round the factors to 11 or 8 bits.
FULL = jax.lax.Precision.HIGHEST
product = functools.partial(jnp.einsum, precision=FULL)

P = ParamSpec("P")
R = TypeVar("R")


def float64(function: Callable[P, R], static: Sequence[str] = ()) -> Callable[P, R]:
    """Jits `function` and runs it in float64, on float64 copies of its arguments; returns numpy arrays.

    Called inside another transformation (jit, vmap, scan) it is `function` itself: the outermost call sets
    the precision. So `float64(jax.vmap(f))` is how a batch is computed exactly.

    Args:
      function: pure, on pytrees of arrays. Arrays are its arguments, not closed over: JAX may have a float32
        copy of what a function closes over.
      static: names of arguments that are not arrays; give them by keyword.
    """
    compiled = jax.jit(function, static_argnames=tuple(static))

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        arrays = {name: value for name, value in kwargs.items() if name not in static}
        # What is made inside jit or scan is a tracer, even of constants; inside vmap only what is mapped is.
        if any(isinstance(leaf, jax.core.Tracer) for leaf in (jnp.zeros(()), *jax.tree.leaves((args, arrays)))):
            return function(*args, **kwargs)
        with jax.enable_x64(True):
            args, arrays = jax.tree.map(_double, (args, arrays))
            return jax.device_get(compiled(*args, **(kwargs | arrays)))

    return call


def _double(leaf: object) -> object:
    array = np.asarray(leaf) if isinstance(leaf, jax.Array | np.ndarray | np.generic | float) else None
    return leaf if array is None or not np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)


def single(function: Callable[P, R]) -> Callable[P, R]:
    """Runs `function` in float32 and int32, also where somebody has set JAX_ENABLE_X64: what is sampled is the same.

    Inside another transformation, too: what it is given is rounded on the way in.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if jnp.result_type(float) == jnp.float32:
            return function(*args, **kwargs)
        with jax.enable_x64(False):
            args, kwargs = jax.tree.map(_single, (args, kwargs))
            return function(*args, **kwargs)

    return call


def _single(leaf: object) -> object:
    if not isinstance(leaf, jax.Array):
        return leaf
    narrow = {"float64": jnp.float32, "int64": jnp.int32, "uint64": jnp.uint32}.get(str(leaf.dtype))
    return leaf if narrow is None else jax.lax.convert_element_type(leaf, narrow)

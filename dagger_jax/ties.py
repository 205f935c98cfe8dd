"""Choices among computed numbers: what is equal but for rounding goes by the index, whatever the rounding."""

import jax.numpy as jnp

from dagger_jax.types import Array

TIE = 1e-12  # costs-to-go of float64 nearer than this are equal


def rounding(values: Array, terms: Array | int = 16) -> Array:
    """How far rounding may move sums of so many terms along the last axis, a unit in the last place each. [..., 1]"""
    size = jnp.abs(jnp.where(jnp.isfinite(values), values, 0.0)).max(-1, keepdims=True)
    return terms * jnp.finfo(size.dtype).eps * size


def first_least(values: Array, tie: Array | float) -> Array:
    """The first index along the last axis whose value is at most `tie` above the least. numpy or jax, [..., n] -> [...]

    `tie` is a number or [..., 1].
    """
    return (values <= values.min(-1, keepdims=True) + tie).argmax(-1)


def first_greatest(values: Array, tie: Array | float) -> Array:
    """Likewise, the first that is at most `tie` below the greatest."""
    return first_least(-values, tie)


def descending(values: Array, tie: float) -> Array:
    """The order [n] of `values` [n], the greatest first; what no gap above `tie` parts is ordered by index."""
    order = jnp.argsort(-values)
    ranked = values[order]
    group = jnp.append(0, jnp.cumsum(ranked[:-1] - ranked[1:] > tie))
    return jnp.argsort(jnp.zeros_like(group).at[order].set(group))

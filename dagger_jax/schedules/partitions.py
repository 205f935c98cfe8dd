"""Chunk partitions: [T], 1 where a chunk starts, and what is summed along a chunk. Every number may be traced."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Key, Real, Shaped

from dagger_jax.checks import known, namespace
from dagger_jax.sampling import choose, thresholds
from dagger_jax.types import Array


def starts(horizon: int, length: Any, offset: Integer[Array, "..."] | int = 0) -> Bool[Array, "... {horizon}"]:
    """Equal chunks: starts at step 0 and at every t with (t - offset) divisible by `length`. [..., T]

    A random offset, uniform in 0..length-1, is a random phase: docs/theory.md#chunks-random-phase.

    Args:
      horizon: T.
      length: [...] steps; a number, or one a round.
      offset: [...].

    Raises:
      ValueError: a length below 1 (a concrete one only).
    """
    found = known(length)
    if found is not None and (found < 1).any():
        raise ValueError(f"chunk lengths must be at least 1 step, got {found.tolist()}")
    step, xp = np.arange(horizon), namespace(length, offset)
    return ((step - xp.asarray(offset)[..., None]) % xp.asarray(length)[..., None] == 0) | (step == 0)


def partition(horizon: int, lengths: Sequence[int] | Integer[Array, " k"]) -> Bool[Array, " {horizon}"]:
    """Chunks of the given lengths, in order. [T]

    Args:
      horizon: T.
      lengths: positive integers that sum to T (traced ones are not checked; what lies beyond T is cut).

    Raises:
      ValueError: a length below 1, or lengths that do not sum to the horizon.
    """
    found = known(lengths)
    if found is not None:
        if found.size == 0 or (found < 1).any():
            raise ValueError(f"chunk lengths must be at least 1 step, got {found.tolist()}")
        if found.sum() != horizon:
            raise ValueError(f"chunk lengths must sum to the horizon {horizon}, got a sum of {found.sum()}")
    return _in_order(horizon, lengths)


def _in_order(horizon: int, lengths: Any) -> Bool[Array, " {horizon}"]:
    """Starts of chunks of these lengths; what lies beyond the horizon is cut."""
    xp = namespace(lengths)
    lengths = xp.asarray(lengths)
    return _at(horizon, xp.cumsum(lengths) - lengths)


def _at(horizon: int, steps: Any) -> Bool[Array, " {horizon}"]:
    """True at these steps, from 0; what lies beyond the horizon is cut."""
    if namespace(steps) is np:
        return np.isin(np.arange(horizon), steps)
    return jnp.zeros(horizon, bool).at[steps].set(True, mode="drop")


def powers(base: Real[Array, ""] | float, count: int) -> Float[Array, " {count}"]:
    """base^n, n = 0, 1, ...; a known base, rounded to a float, is raised in float64 and rounded once. [count]"""
    found, kind = known(base), jnp.result_type(float)
    if found is None:
        return base ** jnp.arange(count)
    with np.errstate(over="ignore", under="ignore"):  # infinity and 0 are what is wanted
        return (found.astype(kind).astype(np.float64) ** np.arange(count)).astype(kind)


def geometric(horizon: int, mean: Real[Array, ""] | float) -> Float[Array, " {horizon}"]:
    """Chunks of geometric length: before each later step a new one starts with probability 1/mean. [T]"""
    return namespace(mean).where(np.arange(horizon) == 0, 1.0, 1.0 / mean).astype(jnp.result_type(float))


def drawn(key: Key[Array, ""], horizon: int, chances: Real[Array, " k"]) -> Bool[Array, " {horizon}"]:
    """Independent chunk lengths: k with probability chances[k - 1]. [T]

    Args:
      key: typed key; another one, another partition.
      horizon: T.
      chances: [K] law of the lengths 1..K, traced or not; scaled to sum to 1.

    Raises:
      ValueError: chances that are negative, not finite, or all 0 (concrete ones only).
    """
    found = known(chances)
    if found is not None and not ((found >= 0).all() and 0 < found.sum() < np.inf):
        raise ValueError(f"chances of chunk lengths must be at least 0 and not all 0, got {found.tolist()}")
    return _drawn(key, horizon, chances)


@functools.partial(jax.jit, static_argnames=("horizon",))
def _drawn(key: Array, horizon: int, chances: Array) -> Array:
    # Inverse of the cumulative law: one word a chunk, in place of a Gumbel number a chunk and length.
    words = jax.random.bits(key, (horizon,), jnp.uint32)
    return _in_order(horizon, 1 + jax.vmap(choose, (None, 0))(thresholds(chances), words))


def growing(horizon: int, first: Real[Array, ""] | float, factor: Real[Array, ""] | float) -> Bool[Array, " {horizon}"]:
    """Chunks of first, first x factor, first x factor^2, ... steps, rounded, at least 1. [T]

    Raises:
      ValueError: a first length or a factor below 0 or not finite (concrete ones only).
    """
    for name, value in (("first", first), ("factor", factor)):
        found = known(value)
        if found is not None and not ((found >= 0) & (found < np.inf)).all():
            raise ValueError(f"{name} of growing chunks must be a number from 0, got {found.tolist()}")
    xp, grown = namespace(first, factor), powers(factor, horizon)
    with np.errstate(over="ignore"):
        lengths = xp.round(xp.asarray(first, grown.dtype) * grown)
    return _in_order(horizon, xp.clip(lengths, 1.0, horizon).astype(jnp.int32))


def forks(horizon: int, steps: Integer[Array, " k"] | Sequence[int]) -> Bool[Array, " {horizon}"]:
    """Chunks that start at step 0 and at the chosen steps, from 0; steps beyond the horizon do not count. [T]

    Raises:
      ValueError: a step below 0 (concrete ones only).
    """
    found = known(steps)
    if found is not None and (found < 0).any():
        raise ValueError(f"forks must be steps from 0, got {found.tolist()}")
    return _at(horizon, namespace(steps).asarray(steps, int)) | (np.arange(horizon) == 0)


def restart(boundary: Array, value: Array, fresh: Array) -> Array:
    """What is summed or carried along a chunk: `fresh` where one starts, a mixture where a coin decides."""
    return (1 - boundary) * value + boundary * fresh


def offsets(boundary: Shaped[Array, " T"]) -> Int[Array, " T"]:
    """Offset of each step in its chunk, from 0; entries are 0 or 1. [T] int"""
    step = jnp.arange(boundary.shape[0])
    return step - jax.lax.cummax(jnp.where(boundary > 0, step, 0))


def by_offset(
    values: Real[Array, " T"], boundary: Shaped[Array, " T"], steps: Integer[Array, ""] | int | None = None
) -> tuple[Float[Array, " T"], Int[Array, " T"]]:
    """Mean of `values` [T] over all steps of an offset, 0 where there is none, and their number. Both [T].

    Only the first `steps` count; None: all.
    """
    where = offsets(boundary)
    counted = jnp.arange(where.shape[0]) < (where.shape[0] if steps is None else steps)
    count = jnp.zeros(where.shape[0], jnp.int32).at[where].add(counted)
    total = jnp.zeros(where.shape[0], jnp.result_type(float)).at[where].add(counted * values)
    return total / jnp.maximum(count, 1), count


def remaining(boundary: Shaped[Array, "*N T"]) -> Float[Array, "*N T"]:
    """Expected remaining length r_t of the current chunk, step t included. [..., T] -> [..., T]

    `boundary` is `join` (or `back` in the reset variant); entries strictly between 0 and 1 are independent
    coins, so r_t = 1 + (1 - boundary_{t+1}) r_{t+1}. A whole number where every entry is 0 or 1.
    """

    def earlier(later: Array, boundary_after: Array) -> tuple[Array, Array]:
        here = 1.0 + (1.0 - boundary_after) * later
        return here, here

    boundary = jnp.asarray(boundary, jnp.result_type(float))
    after = jnp.concatenate([boundary[..., 1:], jnp.ones_like(boundary[..., :1])], axis=-1)
    zero = jnp.zeros(boundary.shape[:-1], after.dtype)
    return jnp.moveaxis(jax.lax.scan(earlier, zero, jnp.moveaxis(after, -1, 0), reverse=True)[1], 0, -1)

"""The best chunk partition for given errors and prices: the limit of what a controller can choose."""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dagger_jax import ties
from dagger_jax.types import Array


class Partition(NamedTuple):
    """The best partition, and what it costs."""

    starts: Array  # [T]
    value: Array  # [] hand-overs x price + bound


def optimal_partition(
    eps: Array, recoverability: Array | float, span: Array, per_chunk: Array | float, detectability: Array | float = 1.0
) -> Partition:
    """The partition of least hand-over cost plus combined bound, by dynamic programming; exact, O(T^2).

    docs/theory.md#planning-a-partition.

    Args:
      eps: [T] training error of each step.
      recoverability: u.
      span: [T] D_t, span of V* just after step t.
      per_chunk: price of a hand-over, in units of cost.
      detectability: in [0, 1]; no chunk may have a total variation 1 - prod(1 - eps_t) above it; a chunk of one
        step is always allowed.

    Returns:
      The partition and its price; pure, so that it may be vmapped. Of partitions whose prices are equal but for
      rounding it is the one whose first chunk is shortest, then the second, and so on.

    Raises:
      ValueError: by the argument's name, for a price below 0, or a probability outside [0, 1] (not when traced).
    """
    for name, value, most in (("eps", eps, 1), ("per_chunk", per_chunk, np.inf), ("detectability", detectability, 1)):
        if isinstance(value, jax.core.Tracer):
            continue
        if not ((np.asarray(value) >= 0) & (np.asarray(value) <= most)).all():
            raise ValueError(f"{name} must lie in [0, {most}], got {np.asarray(value).tolist()}")
    eps, span = jnp.asarray(eps, jnp.result_type(float)), jnp.asarray(span)
    horizon = eps.shape[0]
    step = jnp.arange(horizon)

    # price[i, j]: of the chunk of steps i..j, both included.
    left = step[None, :] - step[:, None] + 1  # [t, j] remaining length of t's chunk if it ends at j
    to_end = horizon - step
    worst = jnp.minimum(jnp.minimum(recoverability * left, left + span[None, :]), to_end[:, None])
    inside = left > 0
    each = jnp.where(inside, eps[:, None] * worst, 0.0)
    suffix = jnp.cumsum(each[::-1], axis=0)[::-1]  # sum over t >= i
    hidden = jnp.cumsum(jnp.log1p(-jnp.minimum(eps, 1 - jnp.finfo(eps.dtype).eps)))
    apart = -jnp.expm1(hidden[None, :] - jnp.concatenate([jnp.zeros(1, hidden.dtype), hidden[:-1]])[:, None])
    limit = detectability + horizon * jnp.finfo(eps.dtype).eps  # what rounding does to a sum of logarithms
    allowed = inside & ((left == 1) | (apart <= limit))
    price = jnp.where(allowed, per_chunk + suffix, jnp.inf)

    def earlier(later: Array, i: Array) -> tuple[Array, Array]:
        options = price[i] + later[1:]
        best = ties.first_least(options, ties.rounding(options.min(keepdims=True)))
        return jnp.asarray(later).at[i].set(options[best]), best + 1

    value, ends = jax.lax.scan(earlier, jnp.zeros(horizon + 1, price.dtype), step, reverse=True)

    def follow(start: Array, here: Array) -> tuple[Array, Array]:
        begins = here == start
        return jnp.where(begins, ends[here], start), begins

    starts = jax.lax.scan(follow, jnp.asarray(0, ends.dtype), step)[1]
    return Partition(starts.astype(eps.dtype), value[0])

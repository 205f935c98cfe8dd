"""Laws made ready for sampling: one gather and a comparison a draw.

Next states are drawn from alias tables, actions by comparison with cumulative probabilities. A draw takes a
32-bit word, from `randomness`, and is exact to multiples of 2^-32 (actions: 2^-31).
"""

import jax.numpy as jnp
import numpy as np

from dagger_jax.types import Array


def alias(law: np.ndarray) -> np.ndarray:
    """Alias tables (Walker 1977) of laws [..., S], packed into uint32 [..., E].

    The leading log2(E) bits of a draw choose an entry. Its own outcome is the entry's index, its alternative
    stands in the entry's last log2(E) bits; the rest is a threshold for the rest of the draw. Probabilities
    are first rounded to multiples of 2^-32 that sum to 1, impossible outcomes staying impossible; from there
    on the table is exact.
    """
    width = max(1, (law.shape[-1] - 1).bit_length())
    entries, capacity = 1 << width, 1 << (32 - width)
    rows = law.reshape(-1, law.shape[-1]).astype(np.float64)
    share = np.zeros((len(rows), entries), np.int64)
    share[:, : law.shape[-1]] = np.floor(rows / rows.sum(-1, keepdims=True) * 2.0**32)
    lines = np.arange(len(rows))
    share[lines, share.argmax(-1)] += (1 << 32) - share.sum(-1)

    # A sweep (Hübschle-Schneider and Sanders 2022): light outcomes first, then heavy ones, an entry a turn.
    order = np.argsort(share > capacity, axis=-1, kind="stable")
    light, heavy = np.zeros(len(rows), np.int64), (share <= capacity).sum(-1)
    first_heavy = heavy.copy()

    def at(place: np.ndarray) -> np.ndarray:
        return order[lines, np.minimum(place, entries - 1)]

    left = share[lines, at(heavy)]  # what the current heavy outcome has still to give
    packed = np.zeros_like(share)
    for _ in range(entries):
        giving, following = at(heavy), at(heavy + 1)
        fill = (light < first_heavy) & ((left > capacity) | (heavy >= entries))
        entry = np.where(fill, at(light), giving)
        kept = np.where(fill, share[lines, entry], left)
        full = kept == capacity
        alternative = np.where(full, entry, np.where(fill, giving, following))
        packed[lines, entry] = np.where(full, 0, kept << width) | alternative
        left = np.where(fill, left, left + share[lines, following]) - capacity + np.where(fill, kept, 0)
        light, heavy = light + fill, heavy + ~fill
    return packed.astype(np.uint32).reshape(*law.shape[:-1], entries)


def thresholds(policy: Array) -> Array:
    """Cumulative probabilities of the first A - 1 actions, in units of 2^-31. [..., A] -> [..., A - 1]

    Divided by their last value, so that an action of probability 0 is never taken.
    """
    cumulative = jnp.cumsum(jnp.asarray(policy, jnp.float32), axis=-1)
    below, total = cumulative[..., :-1], cumulative[..., -1:]
    # XLA may divide by multiplying with a rounded 1 / total: what should be 1 is said to be.
    share = jnp.where(below < total, below / total, 1.0)
    return (share * jnp.float32(2**31)).astype(jnp.uint32)


def blend(share: Array, first: Array, second: Array) -> Array:
    """Thresholds of the mixture of two laws, `share` [T] of the first. [L, S, A - 1] each -> [T, S, A - 1]"""
    share = share[:, None, None]
    # Where both are equal rounding must not move them: an impossible action would become possible.
    return jnp.where(first == second, first, share * first + (1 - share) * second).astype(jnp.uint32)


def uniform(word: Array) -> Array:
    """A uniform float32 in [0, 1), a multiple of 2^-24, from a word."""
    return (word >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def choose(cumulative: Array, word: Array) -> Array:
    """The action that a word picks from thresholds [A - 1]. int32"""
    return (word >> 1 >= cumulative).sum(-1, dtype=jnp.int32)


def look(table: Array, *index: Array) -> Array:
    """table[index], where every index is known to be in range. Leading axes of length 1 are constant."""
    inside = tuple(i if size > 1 else 0 for i, size in zip(index, table.shape, strict=False))
    return jnp.asarray(table).at[inside].get(mode="promise_in_bounds")


def draw(table: Array, word: Array, *index: Array) -> Array:
    """The outcome that a word picks from the alias table [E] at table[index]. int32"""
    width = table.shape[-1].bit_length() - 1
    entry = word >> (32 - width)
    packed = look(table, *index, entry)
    own = (word & jnp.uint32((1 << (32 - width)) - 1)) < packed >> width
    return jnp.where(own, entry, packed & jnp.uint32((1 << width) - 1)).astype(jnp.int32)

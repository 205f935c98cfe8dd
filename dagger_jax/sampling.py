"""Laws made ready for sampling: one gather and a comparison a draw.

Next states are drawn from alias tables, actions and coins by comparison with cumulative probabilities. A draw takes a
32-bit word, from `randomness`, and its law is exact to multiples of 2^-32; what is impossible is never drawn.

A threshold c counts words, from 0 to 2^32: one value more than a uint32 has. So the last two words are one, 2^32 - 2,
and the threshold 2^32 - 1 is above every word: it stands for 2^32, and 2^32 - 2 for 2^32 - 1 as well.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int32, Int64, Integer, Shaped, UInt32

from dagger_jax.types import Array

NEVER = np.uint32(2**32 - 1)  # a threshold that no word reaches


def shares(law: Float[np.ndarray, "*L A"]) -> Int64[np.ndarray, "*L A"]:
    """Words of each outcome, of 2^32: p 2^32 rounded down, and the rest for the likeliest. [..., A] int64"""
    rows = np.asarray(law, np.float64)
    words = np.floor(rows / rows.sum(-1, keepdims=True) * 2.0**32).astype(np.int64)
    rest = (1 << 32) - words.sum(-1, keepdims=True)
    return words + np.where(np.arange(rows.shape[-1]) == rows.argmax(-1)[..., None], rest, 0)


def entry_bits(outcomes: int) -> int:
    """log2(E), how many bits of a draw choose an entry of the alias table of so many outcomes."""
    return max(1, (outcomes - 1).bit_length())


def alias(law: Float[np.ndarray, "*L S"]) -> UInt32[np.ndarray, "*L E"]:
    """Alias tables (Walker 1977) of laws [..., S], packed into uint32 [..., E].

    The leading log2(E) bits of a draw choose an entry. Its own outcome is the entry's index, its alternative
    stands in the entry's last log2(E) bits; the rest is a threshold for the rest of the draw. Probabilities
    are first rounded to multiples of 2^-32 that sum to 1, impossible outcomes staying impossible; from there
    on the table is exact.
    """
    width = entry_bits(law.shape[-1])
    entries, capacity = 1 << width, 1 << (32 - width)
    rows = law.reshape(-1, law.shape[-1])
    lines = np.arange(len(rows))
    share = np.zeros((len(rows), entries), np.int64)
    share[:, : law.shape[-1]] = shares(rows)

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


def exact_thresholds(law: Float[np.ndarray, "*L A"]) -> UInt32[np.ndarray, "*L A-1"]:
    """Cumulative probabilities of the first A - 1 actions in words, on the host in float64. [..., A] -> [..., A - 1]

    As in `alias` an action has p 2^32 words, rounded down, and the likeliest one the rest.
    """
    below = np.cumsum(shares(law), axis=-1)[..., :-1]
    return np.where(below >= 2**32, NEVER, np.minimum(below, NEVER - 1)).astype(np.uint32)


def thresholds(policy: Float[Array, "*L A"]) -> UInt32[Array, "*L A-1"]:
    """The same under jit, for probabilities rounded to float32, which need not sum to 1. [..., A] -> [..., A - 1]"""
    law = jnp.asarray(policy, jnp.float32)
    law = law / jnp.maximum(law.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    # Exact: a power of two. Integers add up exactly, in any order and on any device, and wrap around at 2^32.
    share = (jnp.minimum(law, 1 - 2**-24) * jnp.float32(2**32)).astype(jnp.uint32)
    likeliest = jnp.arange(law.shape[-1]) == law.argmax(-1, keepdims=True)
    total = share.sum(-1, keepdims=True, dtype=jnp.uint32)
    below = jnp.cumsum(jnp.where(likeliest, share - total, share), -1, dtype=jnp.uint32)
    taken = (share > 0) | likeliest
    later = jax.lax.cumsum(taken.astype(jnp.int32), axis=taken.ndim - 1, reverse=True)[..., 1:] > 0
    return jnp.where(later, jnp.minimum(below[..., :-1], NEVER - 1), NEVER)


def blend(
    share: Float[Array, "*#L"], first: UInt32[Array, "*#L"], second: UInt32[Array, "*#L"]
) -> UInt32[Array, "..."]:
    """Thresholds of the mixture of two laws, `share` of the first; shapes broadcast.

    In integers, and rounded towards the second: equal thresholds stay as they are, so that what is impossible in both
    stays impossible, and the order of thresholds is kept.
    """
    share = jnp.asarray(share, jnp.float32)
    parts = limit(share)
    up, down = high(first - second, parts), high(second - first, parts)
    mixed = jnp.where(first >= second, second + up, second - down)
    return jnp.where(share >= 1, first, mixed)


def high(first: UInt32[Array, "*#L"], second: UInt32[Array, "*#L"]) -> UInt32[Array, "..."]:
    """The upper 32 bits of the product of two uint32: floor(first x second / 2^32)."""
    (a, b), (c, d) = ((x >> 16, x & jnp.uint32(0xFFFF)) for x in (first, second))
    middle = a * d + (b * d >> 16)
    return a * c + (middle >> 16) + ((middle & jnp.uint32(0xFFFF)) + b * c >> 16)


def limit(chance: Float[Array, "*L"] | float) -> UInt32[Array, "*L"]:
    """The threshold of a coin that shows heads with a chance in [0, 1], of float32: see `heads`. uint32"""
    chance = jnp.asarray(chance, jnp.float32)
    words = (jnp.minimum(chance, 1 - 2**-24) * jnp.float32(2**32)).astype(jnp.uint32)
    return jnp.where(chance >= 1, NEVER, words)


def heads(word: UInt32[Array, "*#L"], limit: UInt32[Array, "*#L"]) -> Bool[Array, "..."]:
    """Whether a word is below a threshold: never at chance 0, always at 1. bool"""
    return jnp.minimum(word, NEVER - 1) < limit


def choose(cumulative: UInt32[Array, " k"], word: UInt32[Array, ""]) -> Int32[Array, ""]:
    """The action that a word picks from thresholds [A - 1]. int32"""
    return (jnp.minimum(word, NEVER - 1) >= cumulative).sum(-1, dtype=jnp.int32)


def any_of(count: int, word: UInt32[Array, "*L"]) -> Int32[Array, "*L"]:
    """One of `count` outcomes, each by the same number of words, or one more. int32"""
    return high(word, jnp.uint32(count)).astype(jnp.int32)


def look(table: Shaped[Array, "..."], *index: Integer[Array, "*#B"] | int) -> Shaped[Array, "..."]:
    """table[index], where every index is known to be in range. Leading axes of length 1 are constant.

    One index into the flattened table, where 32 bits hold it: XLA on a CPU would first put several side by side.
    """
    table = jnp.asarray(table)
    sizes, rest = table.shape[: len(index)], table.shape[len(index) :]
    if math.prod(sizes) >= 2**31:
        inside = tuple(i if size > 1 else 0 for i, size in zip(index, sizes, strict=True))
        return table.at[inside].get(mode="promise_in_bounds")
    place = jnp.int32(0)
    for i, size in zip(index, sizes, strict=True):
        place = place * size + (jnp.asarray(i, jnp.int32) if size > 1 else 0)
    return table.reshape(-1, *rest).at[place].get(mode="promise_in_bounds")


def draw(
    table: UInt32[Array, "..."], word: UInt32[Array, "*#B"], *index: Integer[Array, "*#B"] | int
) -> Int32[Array, "..."]:
    """The outcome that a word picks from the alias table [E] at table[index]. int32"""
    width = table.shape[-1].bit_length() - 1
    entry = word >> (32 - width)
    packed = look(table, *index, entry)
    own = (word & jnp.uint32((1 << (32 - width)) - 1)) < packed >> width
    return jnp.where(own, entry, packed & jnp.uint32((1 << width) - 1)).astype(jnp.int32)

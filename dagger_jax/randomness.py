"""Counter-based random bits: a function of (key, episode, round, step, use), computed where they are used.

The generator is Threefry-2x32 (Salmon, Moraes, Dror, Shaw, SC 2011), the one that jax.random uses, with
its 20 rounds. Written inline as elementwise uint32 operations XLA fuses it into the step that consumes
it, so no array of bits is ever stored, and no draw depends on how a batch is split.
"""

import math
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Integer, Key, UInt32

from dagger_jax.checks import namespace
from dagger_jax.types import Array

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
ROUNDS = 20


class Use(IntEnum):
    """What a pair of words is for. Each (episode, round, step, use) is drawn at most once."""

    MOVE = 0  # the actions; the world
    MEET = 1  # whether the walkers jump; whether the guide's action is perturbed, or copied
    START = 2  # the world's first state, both words
    GATE = 3  # whether the expert takes over; whether it acts for the learner, where a coin decides


class Words(NamedTuple):
    """Two independent uniform 32-bit words."""

    first: Array  # [...] uint32
    second: Array  # [...] uint32


def threefry(key: Words, counter: Words, rounds: int = ROUNDS) -> Words:
    """Threefry-2x32 of a counter under a key; elementwise, shapes broadcast. Of known words it is NumPy's."""
    with np.errstate(over="ignore"):  # words wrap around
        return _threefry(key, counter, rounds)


def _threefry(key: Words, counter: Words, rounds: int) -> Words:
    x, y = counter
    keys = (key.first, key.second, key.first ^ key.second ^ np.uint32(0x1BD11BDA))
    x, y = x + keys[0], y + keys[1]
    for i in range(rounds):
        turn = ROTATIONS[i // 4 % 2][i % 4]
        x = x + y
        y = ((y << turn) | (y >> (32 - turn))) ^ x
        if i % 4 == 3:
            block = i // 4 + 1
            x, y = x + keys[block % 3], y + keys[(block + 1) % 3] + np.uint32(block)
    return Words(x, y)


def words(key: Key[Array, "..."]) -> Words:
    """The two words of a typed JAX key (`jax.random.key`), shape [...]."""
    data = jax.random.key_data(key)
    data = namespace(data).asarray(data)
    return Words(data[..., 0], data[..., 1])


def for_round(key: Words, round: Integer[Array, "..."] | int) -> Words:
    """The key of one round. No other derivation encrypts a counter that ends in 2^32 - 1."""
    return threefry(key, Words(namespace(round).uint32(round), np.uint32(0xFFFFFFFF)))


def bits(key: Words, episode: Integer[Array, "*#B"], step: Integer[Array, "*#B"] | int, use: Any) -> Words:
    """The words of one use at one step of one episode: counter (episode, 4 step + use).

    Args:
      key: of the round, from `for_round`.
      episode: [...] uint32, global index of the episode, below 2^32.
      step: below 2^30.
      use: what the words are for.
    """
    return threefry(key, Words(jnp.uint32(episode), jnp.uint32(step) * len(Use) + jnp.uint32(use)))


def crossing(pair: Words) -> Array:
    """A pair of words as one array, complex64 by its bits, to be carried into a loop's turn.

    XLA on a CPU computes whatever is cheap again in every fusion that reads it: twenty rounds for each word of a pair
    and each of its readers. It does not across a loop's boundary, and one array is one fusion. No arithmetic on it.
    """
    real, imaginary = (jax.lax.bitcast_convert_type(word, jnp.float32) for word in pair)
    return jax.lax.complex(real, imaginary)


def crossed(tree: Any) -> Any:
    """A tree of pairs of words, of which some, or all, were packed by `crossing`."""
    word = lambda part: jax.lax.bitcast_convert_type(part, jnp.uint32)
    is_pair = lambda one: isinstance(one, Words)
    unpack = lambda one: one if is_pair(one) else Words(word(jax.lax.real(one)), word(jax.lax.imag(one)))
    return jax.tree.map(unpack, tree, is_leaf=is_pair)


def expand(word: Words, count: int) -> UInt32[Array, " {count}"]:
    """As many further words as are wanted of one pair, which is their key. [count] uint32"""
    place = jnp.arange(-(-count // 2), dtype=jnp.uint32)
    return jnp.stack(threefry(word, Words(place, jnp.uint32(0xFFFFFFFE))), axis=-1).reshape(-1)[:count]


def uniform(word: Words, shape: tuple[int, ...] = ()) -> Float32[Array, "..."]:
    """Uniform numbers in (0, 1), float32, odd multiples of 2^-24, as many as `shape` has."""
    bits = expand(word, math.prod(shape)).reshape(shape)
    return ((bits >> 9).astype(jnp.float32) + jnp.float32(0.5)) * jnp.float32(2**-23)


def normal(word: Words, shape: tuple[int, ...] = ()) -> Float32[Array, "..."]:
    """Standard normal numbers, float32."""
    return jax.scipy.special.ndtri(uniform(word, shape))


def key(word: Words) -> Key[Array, "..."]:
    """A typed JAX key, for whatever draws by `jax.random`."""
    return jax.random.wrap_key_data(jnp.stack(word, axis=-1), impl="threefry2x32")


def fingerprint(tree: Any) -> UInt32[Array, ""]:
    """A number that tells trees of arrays and typed keys apart, but for one chance in 2^32. [] uint32"""
    found = jnp.uint32(0)
    for n, leaf in enumerate(jax.tree.leaves(tree)):
        leaf = jnp.asarray(leaf)
        leaf = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaf = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
        flat = leaf.astype(jnp.uint32).ravel()
        each = threefry(
            Words(jnp.uint32(n), jnp.uint32(leaf.size)), Words(flat, jnp.arange(flat.size, dtype=jnp.uint32))
        )
        found = threefry(
            Words(found, jnp.uint32(n)), Words(each.first.sum(dtype=jnp.uint32), each.second[:1].sum())
        ).first
    return found

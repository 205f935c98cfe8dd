"""A decoder-only transformer, written for one sequence; `vmap` outside.

There is one model. What differs between a full pass, a prefill, one decoded token and the two streams of chunk
training is where tokens stand (`positions`), what they may attend to (`sees`), and whether keys and values are kept.

Input t of a stream is its token t - 1, and a token of its own before the first; output t predicts token t.
"""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from dagger_jax.types import Array, Node

BARRED = -1e9  # added to the score of a key that may not be seen


class Config(Node):
    """Sizes. Static: another configuration is another program."""

    vocabulary: int = struct.field(pytree_node=False)  # V
    length: int = struct.field(pytree_node=False)  # T, tokens of a sequence at most
    width: int = struct.field(pytree_node=False, default=64)
    layers: int = struct.field(pytree_node=False, default=2)
    heads: int = struct.field(pytree_node=False, default=4)
    dtype: Literal["float32", "bfloat16"] = struct.field(pytree_node=False, default="float32")
    positions: Literal["rotary", "learned"] = struct.field(pytree_node=False, default="rotary")

    def __post_init__(self):
        for name, low in (("vocabulary", 2), ("length", 1), ("width", 1), ("layers", 1), ("heads", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of the {self.heads} heads")
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise ValueError(f"rotary positions need heads of even size, got {self.width // self.heads}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, got {self.dtype}")
        if self.positions not in ("rotary", "learned"):
            raise ValueError(f"positions must be rotary or learned, got {self.positions}")

    @property
    def head_size(self) -> int:
        return self.width // self.heads


class Cache(NamedTuple):
    """Keys and values of the inputs so far, by layer. What lies beyond them is not seen."""

    keys: tuple[Array, ...]  # by layer, [heads, T, head size]: the order in which attention reads them
    values: tuple[Array, ...]


def empty(config: Config) -> Cache:
    """A cache without inputs."""
    zeros = (jnp.zeros((config.heads, config.length, config.head_size), config.dtype),) * config.layers
    return Cache(zeros, zeros)


class Block(nn.Module):
    """Attention and a feed-forward network, each on normalised input and added to it."""

    config: Config

    @nn.compact
    def __call__(self, x: Array, positions: Array, sees: Array, cache: Any, start: Array) -> tuple[Array, Any]:
        config, dense = self.config, nn.DenseGeneral
        heads = (config.heads, config.head_size)
        y = nn.LayerNorm(dtype=config.dtype, use_bias=False)(x)
        query, key, value = (dense(heads, use_bias=False, dtype=config.dtype, name=name)(y) for name in "qkv")
        if config.positions == "rotary":
            query, key = rotate(query, positions), rotate(key, positions)
        query, key, value = (jnp.swapaxes(part, 0, 1) for part in (query, key, value))
        if cache is not None:
            keys, values = cache
            key = jax.lax.dynamic_update_slice(keys, key, (0, start, 0))
            value = jax.lax.dynamic_update_slice(values, value, (0, start, 0))
            cache = key, value
        scores = jnp.einsum("hqd,hkd->hqk", query, key) * config.head_size**-0.5
        weights = jax.nn.softmax(scores.astype(jnp.float32) + jnp.where(sees, 0.0, BARRED), axis=-1)
        seen = jnp.einsum("hqk,hkd->qhd", weights.astype(config.dtype), value)
        x = x + dense(config.width, axis=(-2, -1), use_bias=False, dtype=config.dtype, name="out")(seen)
        y = nn.LayerNorm(dtype=config.dtype, use_bias=False)(x)
        y = nn.Dense(4 * config.width, dtype=config.dtype, name="up")(y)
        return x + nn.Dense(config.width, dtype=config.dtype, name="down")(nn.gelu(y)), cache


class Decoder(nn.Module):
    """Inputs [S] at positions [S] that see keys [S, K] -> logits [S, V] in float32, and the cache."""

    config: Config

    @nn.compact
    def __call__(
        self, inputs: Array, positions: Array, sees: Array, cache: Cache | None = None, start: Array | int = 0
    ) -> tuple[Array, Cache | None]:
        config = self.config
        # The last row stands before the first token.
        x = nn.Embed(config.vocabulary + 1, config.width, dtype=config.dtype, name="tokens")(inputs)
        if config.positions == "learned":
            x = x + nn.Embed(config.length, config.width, dtype=config.dtype, name="positions")(positions)
        kept = []
        for layer in range(config.layers):
            own = None if cache is None else (cache.keys[layer], cache.values[layer])
            x, own = Block(config, name=f"block_{layer}")(x, positions, sees, own, jnp.asarray(start))
            kept.append(own)
        logits = nn.Dense(config.vocabulary, dtype=config.dtype, name="logits")(
            nn.LayerNorm(dtype=config.dtype, use_bias=False)(x)
        )
        cache = None if cache is None else Cache(*zip(*kept, strict=True))
        return logits.astype(jnp.float32), cache


def rotate(x: Array, positions: Array) -> Array:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864). x [S, heads, head size], positions [S]."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * 10000.0 ** (-jnp.arange(half) / half)
    sin, cos = (part[:, None].astype(x.dtype) for part in (jnp.sin(angle), jnp.cos(angle)))
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def init(config: Config, key: jax.Array) -> Any:
    """Fresh parameters, float32."""
    one = jnp.zeros(1, int)
    return Decoder(config).init(key, one, one, jnp.ones((1, 1), bool))["params"]


def shifted(config: Config, tokens: Array) -> Array:
    """A stream's inputs: its tokens [S], one later, after the beginning."""
    return jnp.concatenate([jnp.full((1,), config.vocabulary, tokens.dtype), tokens[:-1]])


def full(config: Config, params: Any, tokens: Array) -> Array:
    """Logits [S, V] for each of the tokens [S], S <= T, in one pass without a cache."""
    place = jnp.arange(tokens.shape[0])
    sees = place[None] <= place[:, None]
    return _apply(config, params, shifted(config, tokens), place, sees)[0]


def prefill(config: Config, params: Any, cache: Cache, tokens: Array, count: Array | int) -> tuple[Array, Cache]:
    """The cache after the beginning and the first `count` tokens of a prefix [P], and the next one's logits [V].

    One program serves every count up to P: what is padded is computed, and not seen afterwards.
    """
    inputs = jnp.concatenate([jnp.full((1,), config.vocabulary, tokens.dtype), tokens])[: config.length]
    place = jnp.arange(inputs.shape[0])
    sees = jnp.arange(config.length)[None] <= place[:, None]
    logits, cache = _apply(config, params, inputs, place, sees, cache, 0)
    return logits[count], cache


def decode(config: Config, params: Any, cache: Cache, token: Array, position: Array | int) -> tuple[Array, Cache]:
    """Input `position`, the token before it (V: the beginning) -> the logits [V] of the next token, and the cache."""
    place = jnp.asarray(position)[None]
    sees = jnp.arange(config.length)[None] <= place[:, None]
    logits, cache = _apply(config, params, jnp.asarray(token)[None], place, sees, cache, position)
    return logits[0], cache


def two_streams(config: Config, params: Any, novice: Array, guide: Array, joins: Array) -> Array:
    """Logits [2, T, V] of the novice's and the guide's tokens, all chunks in one pass over 2 T inputs.

    At step t the guide's token sees what the novice had written before t's chunk, and what the guide has written in
    it. So each chunk is judged from its own prefix, and nothing is computed twice for it.

    Args:
      config: of the model.
      params: its parameters.
      novice: [T] tokens.
      guide: [T] tokens, continued from the novice's at each join.
      joins: [T] bool, where chunks start; the first is True.
    """
    steps = jnp.arange(novice.shape[0])
    inputs, sees = streams(config, novice, guide, joins)
    logits, _ = _apply(config, params, inputs, jnp.tile(steps, 2), sees)
    return logits.reshape(2, novice.shape[0], -1)


def streams(config: Config, novice: Array, guide: Array, joins: Array) -> tuple[Array, Array]:
    """Inputs [2 T] and what they see [2 T, 2 T], novice first."""
    steps = jnp.arange(novice.shape[0])
    begins = jax.lax.cummax(jnp.where(joins, steps, 0))  # the first step of t's chunk
    before, later = shifted(config, novice), shifted(config, guide)
    inputs = jnp.concatenate([before, jnp.where(joins, before, later)])
    causal = steps[None] <= steps[:, None]
    inside = steps[None] >= begins[:, None]
    # The guide's own input at the chunk's first step stands for the novice's, which is the same.
    sees = jnp.block([[causal, jnp.zeros_like(causal)], [causal & ~inside, causal & inside]])
    return inputs, sees


def _apply(config: Config, params: Any, *inputs: Any) -> Any:
    return Decoder(config).apply({"params": params}, *inputs)

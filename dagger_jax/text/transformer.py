"""A decoder-only transformer, written for one sequence; `vmap` outside.

There is one model. What differs between a full pass, a prefill, one decoded token and the two streams of chunk
training is where tokens stand (`positions`), what they may attend to (`sees`), and whether keys and values are kept.

Input t of a stream is its token t - 1, and a token of its own before the first; output t predicts token t.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax.precision import FULL, product
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


Pair = tuple[Array, Array]  # keys and values of one layer
Masks = Sequence[Array]  # what may be seen: of a cache [S, K], if there is one, then of the inputs [S, S]


class Cache(NamedTuple):
    """Keys and values of the inputs so far, by layer. What lies beyond them is not seen."""

    keys: tuple[Array, ...]  # by layer, [heads, T, head size]: the order in which attention reads them
    values: tuple[Array, ...]


def empty(config: Config) -> Cache:
    """A cache without inputs."""
    zeros = (jnp.zeros((config.heads, config.length, config.head_size), config.dtype),) * config.layers
    return Cache(zeros, zeros)


def attend(query: Array, known: Sequence[Pair], sees: Masks) -> Array:
    """Softmax attention [heads, S, head size] over several sets of keys and values together, of which `sees` is seen.

    The sets are not joined: if a token's own key were put into the cache first and attended to there, XLA would copy
    every cache, whole, for every token.

    Args:
      query: [heads, S, head size].
      known: sets of K keys and values, each [heads, K, head size]; K differs.
      sees: for each, [S, K] bool; every query sees something.
    """
    scores = [
        product("hqd,hkd->hqk", query, keys).astype(jnp.float32) * query.shape[-1] ** -0.5
        + jnp.where(mask, 0.0, BARRED)
        for (keys, _), mask in zip(known, sees, strict=True)
    ]
    top = functools.reduce(jnp.maximum, (each.max(-1, keepdims=True) for each in scores))
    weights = [jnp.exp(each - jax.lax.stop_gradient(top)) for each in scores]
    seen = sum(
        product("hqk,hkd->hqd", weight.astype(values.dtype), values)
        for weight, (_, values) in zip(weights, known, strict=True)
    )
    return jnp.asarray(seen / sum(weight.sum(-1, keepdims=True) for weight in weights), query.dtype)


class Block(nn.Module):
    """Attention and a feed-forward network, each on normalised input and added to it."""

    config: Config

    @nn.compact
    def __call__(self, x: Array, positions: Array, sees: Masks, cached: tuple[Pair, ...]) -> tuple[Array, Pair]:
        config, dense = self.config, functools.partial(nn.DenseGeneral, precision=FULL)
        heads = (config.heads, config.head_size)
        y = nn.LayerNorm(dtype=config.dtype, use_bias=False)(x)
        query, key, value = (dense(heads, use_bias=False, dtype=config.dtype, name=name)(y) for name in "qkv")
        if config.positions == "rotary":
            query, key = rotate(query, positions), rotate(key, positions)
        query, key, value = (jnp.swapaxes(part, 0, 1) for part in (query, key, value))
        seen = attend(query, (*cached, (key, value)), sees)
        if cached:
            # So that rows are written after the cache was read: XLA drops a barrier here, but no product with 0.
            key, value = key + 0 * seen, value + 0 * seen
        seen = jnp.swapaxes(seen, 0, 1)
        x = x + dense(config.width, axis=(-2, -1), use_bias=False, dtype=config.dtype, name="out")(seen)
        y = nn.LayerNorm(dtype=config.dtype, use_bias=False)(x)
        y = nn.Dense(4 * config.width, dtype=config.dtype, precision=FULL, name="up")(y)
        return x + nn.Dense(config.width, dtype=config.dtype, precision=FULL, name="down")(nn.gelu(y)), (key, value)


class Decoder(nn.Module):
    """Inputs [S] at positions [S] -> logits [S, V] in float32, and the inputs' own keys and values.

    They see what `sees` says of a cache, if there is one, and of themselves.
    """

    config: Config

    @nn.compact
    def __call__(self, inputs: Array, positions: Array, sees: Masks, cache: Cache | None = None) -> tuple[Array, Cache]:
        config = self.config
        # The last row stands before the first token.
        x = nn.Embed(config.vocabulary + 1, config.width, dtype=config.dtype, name="tokens")(inputs)
        if config.positions == "learned":
            x = x + nn.Embed(config.length, config.width, dtype=config.dtype, name="positions")(positions)
        own = []
        for layer in range(config.layers):
            cached = () if cache is None else ((cache.keys[layer], cache.values[layer]),)
            x, kept = Block(config, name=f"block_{layer}")(x, positions, sees, cached)
            own.append(kept)
        logits = nn.Dense(config.vocabulary, dtype=config.dtype, precision=FULL, name="logits")(
            nn.LayerNorm(dtype=config.dtype, use_bias=False)(x)
        )
        return logits.astype(jnp.float32), Cache(*zip(*own, strict=True))


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
    return Decoder(config).init(key, one, one, [jnp.ones((1, 1), bool)])["params"]


def shifted(config: Config, tokens: Array) -> Array:
    """A stream's inputs: its tokens [S], one later, after the beginning."""
    return jnp.concatenate([jnp.full((1,), config.vocabulary, tokens.dtype), tokens[:-1]])


def full(config: Config, params: Any, tokens: Array) -> Array:
    """Logits [S, V] for each of the tokens [S] in one pass without a cache. Raises ValueError where S > T."""
    _fits(config, tokens=tokens)
    place = jnp.arange(tokens.shape[0])
    return _apply(config, params, shifted(config, tokens), place, [place[None] <= place[:, None]])[0]


def prefill(config: Config, params: Any, cache: Cache, tokens: Array, count: Array | int) -> tuple[Array, Cache]:
    """The cache after the beginning and the first `count` tokens of a prefix [P], and the next one's logits [V].

    One program serves every count up to P: what is padded is computed, and not seen afterwards. What was in the cache
    is not seen either. A count of which nothing is known (above P, or T) has NaN for logits.

    Raises:
      ValueError: P > T, or a cache of other sizes than the configuration's.
    """
    _fits(config, cache, tokens=tokens)
    inputs = jnp.concatenate([jnp.full((1,), config.vocabulary, tokens.dtype), tokens])[: config.length]
    place = jnp.arange(inputs.shape[0])
    logits, own = _apply(config, params, inputs, place, [place[None] <= place[:, None]])
    return logits.at[count].get(mode="fill", fill_value=jnp.nan), _written(cache, own, 0)


def decode(config: Config, params: Any, cache: Cache, token: Array, position: Array | int) -> tuple[Array, Cache]:
    """Input `position`, the token before it (V: the beginning) -> the logits [V] of the next token, and the cache.

    It attends to the whole cache, of which what is not written yet is masked, and to itself. A position that is known
    only when the program runs cannot be refused: from T on the logits are NaN.

    Raises:
      ValueError: a position outside 0..T-1 that is a number, or a cache of other sizes than the configuration's.
    """
    _fits(config, cache)
    if isinstance(position, int | np.integer) and not 0 <= position < config.length:
        raise ValueError(f"position must lie in 0..{config.length - 1}, got {position}")
    place = jnp.asarray(position)[None]
    sees = jnp.arange(config.length)[None] < place, jnp.ones((1, 1), bool)  # what was written before, and itself
    logits, own = _apply(config, params, jnp.asarray(token)[None], place, sees, cache)
    return jnp.where(place < config.length, logits[0], jnp.nan), _written(cache, own, position)


def two_streams(
    config: Config, params: Any, novice: Array, guide: Array, joins: Array, returns: Array | None = None
) -> Array:
    """Logits [2, T, V] of the novice's and the guide's tokens, all chunks in one pass over 2 T inputs.

    At step t the guide's token sees what the novice had written before t's chunk, and what the guide has written in
    it. So each chunk is judged from its own prefix, and nothing is computed twice for it.

    Args:
      config: of the model.
      params: its parameters.
      novice: [T] tokens.
      guide: [T] tokens, continued from the novice's at each join.
      joins: [T] bool, where chunks start; the first is True.
      returns: [T] bool, where the novice goes on from the guide's tokens; None: nowhere.

    Raises:
      ValueError: texts longer than the configuration's, or not as long as each other.
    """
    _fits(config, novice=novice, guide=guide, joins=joins)
    steps = jnp.arange(novice.shape[0])
    inputs, sees = streams(config, novice, guide, joins, returns)
    logits, _ = _apply(config, params, inputs, jnp.tile(steps, 2), [sees])
    return logits.reshape(2, novice.shape[0], -1)


def streams(
    config: Config, novice: Array, guide: Array, joins: Array, returns: Array | None = None
) -> tuple[Array, Array]:
    """Inputs [2 T] and what they see [2 T, 2 T], novice first."""
    steps = jnp.arange(novice.shape[0])
    if returns is not None:
        return _crossed(config, novice, guide, joins, returns)
    begins = jax.lax.cummax(jnp.where(joins, steps, 0))  # the first step of t's chunk
    before, later = shifted(config, novice), shifted(config, guide)
    inputs = jnp.concatenate([before, jnp.where(joins, before, later)])
    causal = steps[None] <= steps[:, None]
    inside = steps[None] >= begins[:, None]
    # The guide's own input at the chunk's first step stands for the novice's, which is the same.
    sees = jnp.block([[causal, jnp.zeros_like(causal)], [causal & ~inside, causal & inside]])
    return inputs, sees


def _crossed(config: Config, novice: Array, guide: Array, joins: Array, returns: Array) -> tuple[Array, Array]:
    """`streams` where either may go on from the other: whose input each has before it is carried along the steps."""
    last = shifted(config, novice), shifted(config, guide)
    inputs = jnp.concatenate([jnp.where(returns, last[1], last[0]), jnp.where(joins, last[0], last[1])])
    steps, who = jnp.arange(novice.shape[0]), jnp.arange(2)

    def later(of: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        step, join, back = xs
        of = jnp.asarray(of)[jnp.stack([back.astype(int), jnp.where(join, 0, 1)])]  # [2, T] whose input it has there
        of = of.at[:, step].set(who)
        return of, (of[:, None] == who[:, None]) & (steps <= step)  # [2, 2, T]

    sees = jax.lax.scan(later, jnp.zeros((2, len(steps)), int), (steps, joins, returns))[1]
    return inputs, jnp.moveaxis(sees, 0, 1).reshape(2 * len(steps), -1)


def _fits(config: Config, cache: Cache | None = None, **texts: Array) -> None:
    """Refuses what would be clamped. Sizes are static: it costs nothing when a program runs."""
    sizes = {name: text.shape for name, text in texts.items()}
    for name, size in sizes.items():
        if len(size) != 1 or size[0] > config.length:
            raise ValueError(f"{name} must be at most the model's {config.length} tokens, got shape {list(size)}")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{', '.join(sizes)} must be of one length, got {[size[0] for size in sizes.values()]}")
    size = (config.heads, config.length, config.head_size)
    for part in cache or ():
        if (found := [each.shape for each in part]) != [size] * config.layers:
            raise ValueError(f"cache must hold {config.layers} layers of {list(size)}, got {found}")


def _written(cache: Cache, own: Cache, start: Array | int) -> Cache:
    """The cache with keys and values of inputs from `start` on."""
    return jax.tree.map(lambda room, part: jax.lax.dynamic_update_slice(room, part, (0, start, 0)), cache, own)


def _apply(config: Config, params: Any, *inputs: Any) -> Any:
    return Decoder(config).apply({"params": params}, *inputs)

"""What a transformer's tokens cost: FLOPs and bytes of generation and of chunk training.

Counted are the multiply-adds of matrix products, as 2 FLOPs each, also those whose result a mask bars, since the
programs do them. Not counted: softmax, norms, activations, look-ups of embeddings; XLA counts them, so its figure is a
few per cent larger (more for heads below 32). With M parameters in matrix products, a token that attends to n keys
costs 2 M + 4 layers width n FLOPs. A backward pass costs twice its forward pass.

Bytes are those that must move if activations stay on the chip: every stored parameter once a step (4 bytes, whatever
the dtype of the computation), whatever the batch; keys and values, once each time they are read or written; logits are
left out. Letters: n tokens, k of a chunk, T of a text.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax

from dagger_jax.tokens.transformer import Config

TRAINING = 3  # forward and backward, in forward passes
PARAMETER = 4  # bytes, float32

# Dense bfloat16 FLOP/s of one device, from the vendor's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12}

Way = Literal["naive", "padded", "reuse", "two_streams"]


class Cost(NamedTuple):
    """Of a step, a sequence or a program."""

    flops: float
    bytes: float

    def __add__(self, other: Any) -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: float) -> "Cost":
        """So many of them."""
        return Cost(self.flops * count, self.bytes * count)


# ---- a model -----------------------------------------------------------------------------------------------------


def parameters(config: Config) -> int:
    """All that are stored, with embeddings, norms and biases."""
    d, vocabulary = config.width, config.vocabulary
    embeddings = (vocabulary + 1) * d + (config.length * d if config.positions == "learned" else 0)
    norms_and_biases = config.layers * 7 * d + d + vocabulary
    return embeddings + multiplied(config) + norms_and_biases


def multiplied(config: Config) -> int:
    """M: those in matrix products, 12 width² a layer and the logits' width V."""
    return 12 * config.layers * config.width**2 + config.width * config.vocabulary


def attention(config: Config, keys: float) -> float:
    """FLOPs of one token that attends to so many keys: scores and sums of values, 4 layers width n."""
    return 4 * config.layers * config.width * keys


def crossing(config: Config, *, sequence: bool = True) -> float:
    """The n from which the attention's FLOPs exceed those with parameters.

    Of a token, 4 layers width n = 2 M; of a whole sequence, whose mean token attends to (n + 1) / 2, twice that.
    """
    token = 2 * multiplied(config) / attention(config, 1)
    return 2 * token - 1 if sequence else token


# ---- generation --------------------------------------------------------------------------------------------------


def decode(config: Config, keys: float, batch: int = 1) -> Cost:
    """One token of each sequence of a batch, with a cache.

    Args:
      config: of the model.
      keys: how many each token attends to: its own and those before it; the whole capacity for
        `transformer.decode`, which masks what is not written yet.
      batch: sequences; they share the parameters' bytes.
    """
    flops = batch * (2 * multiplied(config) + attention(config, keys))
    return Cost(flops, PARAMETER * parameters(config) + batch * _kept(config, keys + 1))


def full(config: Config, tokens: int, keys: float | None = None, batch: int = 1) -> Cost:
    """One pass without a cache over n tokens; each attends to all n, or to so many keys."""
    flops = batch * tokens * (2 * multiplied(config) + attention(config, tokens if keys is None else keys))
    return Cost(flops, PARAMETER * parameters(config))


def prefill(config: Config, tokens: int, capacity: float | None = None, batch: int = 1) -> Cost:
    """A pass over n tokens that writes a cache. They attend to its whole capacity; None: to themselves."""
    return full(config, tokens, capacity, batch) + Cost(0, batch * _kept(config, tokens))


def sequence(
    config: Config, tokens: int, *, cached: bool = True, capacities: Sequence[int] | None = None, batch: int = 1
) -> Cost:
    """n tokens, one after the other, from nothing.

    Args:
      config: of the model.
      tokens: n of each sequence.
      cached: keys and values are kept; otherwise each token costs a pass over itself and all before it.
      capacities: increasing, the last n: the cache, or the padded pass, has the first that holds the token. None: all
        from 1 to n, nothing is padded: 2 M n + 2 layers width n (n + 1) FLOPs with a cache. (n,): it never grows.
      batch: sequences.

    Raises:
      ValueError: capacities that do not increase to n.
    """
    sizes = range(1, tokens + 1) if capacities is None else capacities
    steps = list(itertools.pairwise((0, *sizes)))
    if any(size <= before for before, size in steps) or (0, *sizes)[-1] != tokens:
        raise ValueError(f"capacities must increase to the {tokens} tokens, got {list(sizes)}")
    one = decode if cached else lambda config, size, batch: full(config, size, None, batch)
    total = Cost(0, 0)
    for before, size in steps:
        total = total + one(config, size, batch).times(size - before)
    return total


def _kept(config: Config, tokens: float) -> float:
    """Bytes of so many tokens' keys and values."""
    return 2 * config.layers * config.width * tokens * (4 if config.dtype == "float32" else 2)


# ---- chunk training ----------------------------------------------------------------------------------------------


def trained(config: Config, tokens: int, chunk: int, way: Way) -> float:
    """FLOPs to train on one text of T tokens in chunks of k, each after the novice's prefix: `TRAINING` forward passes.

    naive        for each of the T/k chunks a pass over [prefix, chunk], as long as it is
    padded       the same, every pass over T tokens: one program
    reuse        a pass over the novice's tokens keeps keys and values, each chunk is read on top of them; no gradient
                 would flow into the novice's keys
    two_streams  one pass over 2 T tokens that attend to 2 T keys, most of them masked

    Raises:
      ValueError: k is not in 1..T, or does not divide T; another way.
    """
    if not 1 <= chunk <= tokens or tokens % chunk:
        raise ValueError(f"chunk must divide the {tokens} tokens, got {chunk}")
    ends = range(chunk, tokens + 1, chunk)
    match way:
        case "naive":
            forward = sum(full(config, end).flops for end in ends)
        case "padded":
            forward = len(ends) * full(config, tokens).flops
        case "reuse":
            forward = full(config, tokens).flops + sum(full(config, chunk, end).flops for end in ends)
        case "two_streams":
            forward = full(config, 2 * tokens).flops
        case _:
            raise ValueError(f"way must be naive, padded, reuse or two_streams, got {way}")
    return TRAINING * forward


# ---- what the compiler and the vendor say ------------------------------------------------------------------------


def compiled(function: Callable[..., Any], *arguments: Any) -> Cost:
    """XLA's count for a function, jitted or not: see `counted`."""
    function = function if hasattr(function, "lower") else jax.jit(function)
    return counted(function.lower(*arguments).compile())


def counted(program: Any) -> Cost:
    """XLA's count for a compiled program (`jax.stages.Compiled`); NaN for what it does not tell.

    It counts the body of a loop once, however often it runs (jax 0.10, CPU): of a `scan` over tokens it tells the cost
    of one. Its bytes are operands and results of every fused operation, intermediate ones too. On a GPU, products that
    are calls of a library may be missing.
    """
    try:
        found = program.cost_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        found = None
    if isinstance(found, list | tuple):
        found = found[0] if found else None
    found = found or {}
    return Cost(float(found.get("flops", math.nan)), float(found.get("bytes accessed", math.nan)))


def peak(kind: str) -> float | None:
    """Dense bfloat16 FLOP/s of a device by its kind (`jax.devices()[0].device_kind`), None where it is not known."""
    words = kind.upper().replace("-", " ").split()
    return next((speed for name, speed in PEAKS.items() if name in words), None)

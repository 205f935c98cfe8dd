"""What a transformer's tokens cost: FLOPs and bytes of generation and of chunk training.

Counted are the multiply-adds of matrix products, as 2 FLOPs each, also those whose result a mask bars, since the
programs do them. Not counted: softmax, norms, activations, look-ups of embeddings; XLA counts them, so its figure is a
few per cent larger (more for heads below 32). With M parameters in matrix products, a token that attends to n keys
costs 2 M + 4 layers width n FLOPs. A backward pass costs twice its forward pass.

Bytes are those that must move if activations stay on the chip: every parameter once a step (4 bytes, whatever the dtype
of the computation), whatever the batch, but of embeddings only the rows that are looked up; keys and values, once each
time they are read from a cache or written to it; logits are left out. A backward pass reads all of this again, and
writes a gradient of every parameter read. Letters: n tokens, k of a chunk, T of a text.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax

from dagger_jax.text.transformer import Config

TRAINING = 3  # forward and backward, in forward passes
PARAMETER = 4  # bytes, float32

# Dense bfloat16 FLOP/s of one device, float16 where it has none (V100, T4), from the vendor's data sheets. A name is
# words of the device's kind; of several, the one with most words counts: boards on PCIe run slower than on SXM.
PEAKS = {
    "H200": 989e12,
    "H200 NVL": 835e12,
    "H100": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIE": 756e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "V100 PCIE": 112e12,
    "T4": 65e12,
}

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
      keys: how many each token attends to, itself among them. Those before it are read from the cache, its own is
        written. `transformer.decode` attends to the whole capacity, with what is not written yet masked, and to itself.
      batch: sequences; they share the parameters' bytes.
    """
    flops = batch * (2 * multiplied(config) + attention(config, keys))
    return Cost(flops, _read(config, 1, batch) + batch * _kept(config, keys))


def full(config: Config, tokens: int, keys: float | None = None, batch: int = 1) -> Cost:
    """One pass without a cache over n tokens; each attends to all n, or to so many keys."""
    flops = batch * tokens * (2 * multiplied(config) + attention(config, tokens if keys is None else keys))
    return Cost(flops, _read(config, tokens, batch))


def prefill(config: Config, tokens: int, batch: int = 1) -> Cost:
    """A pass over n tokens that attend to all n, and whose keys and values are written to a cache."""
    return full(config, tokens, batch=batch) + Cost(0, batch * _kept(config, tokens))


def sequence(
    config: Config, tokens: int, *, cached: bool = True, capacities: Sequence[int] | None = None, batch: int = 1
) -> Cost:
    """n tokens, one after the other, from nothing.

    Args:
      config: of the model.
      tokens: n of each sequence.
      cached: keys and values are kept; otherwise each token costs a pass over itself and all before it.
      capacities: increasing, the last n: the cache, or the padded pass, has the first that holds the token, which
        attends to all of it (and to itself, which is not read from the cache). (n,): it never grows. None: nothing is
        padded, the t-th token attends to t: 2 M n + 2 layers width n (n + 1) FLOPs with a cache.
      batch: sequences.

    Raises:
      ValueError: capacities that do not increase to n.
    """
    sizes = range(1, tokens + 1) if capacities is None else capacities
    steps = list(itertools.pairwise((0, *sizes)))
    if any(size <= before for before, size in steps) or (0, *sizes)[-1] != tokens:
        raise ValueError(f"capacities must increase to the {tokens} tokens, got {list(sizes)}")
    itself = 0 if capacities is None else 1
    total = Cost(0, 0)
    for before, size in steps:
        one = decode(config, size + itself, batch) if cached else full(config, size, batch=batch)
        total = total + one.times(size - before)
    return total


def _read(config: Config, tokens: int, batch: int) -> float:
    """Bytes of the parameters that a step over so many tokens of each sequence reads, as if all tokens differed."""
    tables = config.vocabulary + 1 + (config.length if config.positions == "learned" else 0)
    rows = min(batch * tokens, config.vocabulary + 1)
    rows += min(tokens, config.length) if config.positions == "learned" else 0
    return PARAMETER * (parameters(config) + (rows - tables) * config.width)


def _kept(config: Config, tokens: float) -> float:
    """Bytes of so many tokens' keys and values."""
    return 2 * config.layers * config.width * tokens * (4 if config.dtype == "float32" else 2)


# ---- chunk training ----------------------------------------------------------------------------------------------


def trained(config: Config, tokens: int, chunk: int, way: Way) -> Cost:
    """To train on one text of T tokens in chunks of k, each after the novice's prefix: loss and gradient.

    naive        for each of the T/k chunks a pass over [prefix, chunk], as long as it is
    padded       the same, every pass over T tokens: one program
    reuse        a prefill of the novice's tokens, forward only, and a pass over each chunk, which attends to its prefix
                 in the cache and to itself; no gradient flows into the novice's keys, so it is not the naive gradient
    two_streams  one pass over 2 T tokens that attend to 2 T keys, most of them masked

    Raises:
      ValueError: k is not in 1..T, or does not divide T; another way.
    """
    if not 1 <= chunk <= tokens or tokens % chunk:
        raise ValueError(f"chunk must divide the {tokens} tokens, got {chunk}")
    ends, nothing = range(chunk, tokens + 1, chunk), Cost(0, 0)
    match way:
        case "naive":
            return sum((full(config, end) for end in ends), nothing).times(TRAINING)
        case "padded":
            return full(config, tokens).times(TRAINING * len(ends))
        case "reuse":
            passes = sum((full(config, chunk, end) for end in ends), nothing).times(TRAINING)
            prefixes = 2 * sum(_kept(config, end - chunk) for end in ends)  # forward and backward read them
            return prefill(config, tokens) + passes + Cost(0, prefixes)
        case "two_streams":
            return full(config, 2 * tokens).times(TRAINING)
        case _:
            raise ValueError(f"way must be naive, padded, reuse or two_streams, got {way}")


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
    """Dense bfloat16 FLOP/s of a device by its kind (`jax.devices()[0].device_kind`), None where it is not known.

    It is that of a whole device: None for a part of one (MIG).
    """
    words = set(kind.upper().replace("-", " ").split())
    found = [name for name in PEAKS if words.issuperset(name.split())]
    return PEAKS[max(found, key=len)] if found and "MIG" not in words else None

"""The price of tokens: closed forms against counting one by one, against the parameters, and against XLA."""

import functools
import itertools
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import cost
from dagger_jax.text import transformer
from dagger_jax.text.transformer import Config

TINY = Config(5, 6, width=4, layers=2, heads=2)
LARGE = Config(64, 64, width=64, layers=2, heads=2)  # heads of 32: XLA's extras are small
TOLERANCE = 0.10  # of XLA's count, which has softmax, norms and activations too


def products(shapes):
    """FLOPs of matrix products (rows, inner, columns), one multiply-add at a time."""
    return sum(2 for rows, inner, columns in shapes for _ in itertools.product(*map(range, (rows, inner, columns))))


def by_hand(config, tokens, keys):
    """Every product of a pass over so many tokens, each of which attends to so many keys."""
    d, heads, size = config.width, config.heads, config.head_size
    layer = [(tokens, d, d)] * 4 + [(tokens, d, 4 * d), (tokens, 4 * d, d)]
    layer += [(tokens, size, keys), (tokens, keys, size)] * heads
    return products(layer * config.layers + [(tokens, d, config.vocabulary)])


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("config", [TINY, LARGE])
def test_parameters_are_those_of_the_model(config, positions):
    config = Config(config.vocabulary, config.length, config.width, config.layers, config.heads, positions=positions)
    shapes = jax.eval_shape(lambda: transformer.init(config, jax.random.key(0)))
    assert cost.parameters(config) == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    kernels = [leaf for path, leaf in jax.tree.leaves_with_path(shapes) if path[-1].key == "kernel"]
    assert cost.multiplied(config) == sum(math.prod(leaf.shape) for leaf in kernels)


@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (1, 6), (3, 3), (3, 6)])
def test_a_pass_is_its_matrix_products(tokens, keys):
    assert cost.full(TINY, tokens, keys).flops == by_hand(TINY, tokens, keys)
    assert cost.decode(TINY, keys).flops * tokens == by_hand(TINY, tokens, keys)
    assert cost.decode(TINY, keys, batch=7).flops == 7 * by_hand(TINY, 1, keys)


def test_sequences_are_sums_over_their_tokens():
    one = lambda n: by_hand(TINY, 1, n)
    cached = cost.sequence(TINY, 6)
    assert cached.flops == sum(map(one, range(1, 7)))
    assert cached.flops == 2 * cost.multiplied(TINY) * 6 + 2 * TINY.layers * TINY.width * 6 * 7
    assert cost.sequence(TINY, 6, cached=False).flops == sum(by_hand(TINY, n, n) for n in range(1, 7))
    # A capacity is attended to whole, and each token to itself.
    assert cost.sequence(TINY, 6, capacities=(6,)).flops == 6 * one(7)
    assert cost.sequence(TINY, 6, capacities=(2, 6)).flops == 2 * one(3) + 4 * one(7)
    assert cost.sequence(TINY, 6, capacities=(2, 6), cached=False).flops == 2 * 2 * one(2) + 4 * 6 * one(6)
    assert (
        cost.sequence(TINY, 6, capacities=(2, 6), batch=3).flops == 3 * cost.sequence(TINY, 6, capacities=(2, 6)).flops
    )
    for wrong in ((2, 5), (2, 2, 6), (4, 3, 6), ()):
        with pytest.raises(ValueError, match="capacities must increase to the 6 tokens"):
            cost.sequence(TINY, 6, capacities=wrong)


def test_bytes_are_parameters_once_a_step_and_keys_and_values():
    weights = 4 * (cost.parameters(TINY) - 6 * 4)  # bytes; without the table of 6 rows of embeddings
    look, row = 4 * 4, 2 * 2 * 4 * 4  # a row of the table; keys and values of a token, 2 layers, width 4, float32
    assert cost.decode(TINY, 5).bytes == weights + look + 5 * row  # 4 are read, its own is written
    assert cost.decode(TINY, 5, batch=3).bytes == weights + 3 * look + 3 * 5 * row  # the batch shares the parameters
    assert cost.decode(TINY, 5, batch=8).bytes == weights + 6 * look + 8 * 5 * row  # the table has no more rows
    assert cost.prefill(TINY, 5).bytes == weights + 5 * look + 5 * row
    assert cost.prefill(TINY, 5, batch=3).bytes == weights + 6 * look + 3 * 5 * row
    assert cost.prefill(TINY, 5).flops == by_hand(TINY, 5, 5)
    assert cost.full(TINY, 5).bytes == weights + 5 * look
    assert cost.sequence(TINY, 3).bytes == 3 * (weights + look) + (1 + 2 + 3) * row
    assert cost.sequence(TINY, 3, capacities=(3,)).bytes == 3 * (weights + look) + 3 * 4 * row
    half = Config(5, 6, width=4, layers=2, heads=2, dtype="bfloat16")
    assert cost.decode(half, 5).bytes == weights + look + 5 * row // 2
    shapes = jax.eval_shape(lambda: transformer.empty(half))
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)) == 6 * row // 2
    placed = Config(5, 6, width=4, layers=2, heads=2, positions="learned")  # one more table of 6 rows
    assert cost.decode(placed, 5).bytes == weights + 2 * look + 5 * row
    assert cost.decode(placed, 5, batch=3).bytes == weights + (3 + 1) * look + 3 * 5 * row
    assert cost.full(placed, 4).bytes == weights + (4 + 4) * look
    assert cost.full(placed, 6).bytes == 4 * cost.parameters(placed)


def test_a_sequence_crosses_where_its_quadratic_term_is_as_large_as_the_linear_one():
    n = cost.crossing(LARGE)
    assert 2 * cost.multiplied(LARGE) * n == pytest.approx(2 * LARGE.layers * LARGE.width * n * (n + 1))
    n = cost.crossing(LARGE, sequence=False)
    assert 2 * cost.multiplied(LARGE) == pytest.approx(cost.attention(LARGE, n))


def test_chunk_training_by_hand():
    prefixes = {1: (1, 2, 3, 4, 5, 6), 2: (2, 4, 6), 3: (3, 6), 6: (6,)}
    weights = 4 * (cost.parameters(TINY) - 6 * 4)  # bytes of a pass, without the table of 6 rows of embeddings
    look, row = 4 * 4, 2 * 2 * 4 * 4  # a row of the table; keys and values of a token
    for k, ends in prefixes.items():
        each = {way: cost.trained(TINY, 6, k, way) for way in ("naive", "padded", "reuse", "two_streams")}
        # Forward and backward are three forward passes; parameters are read twice, their gradient is written.
        assert each["naive"].flops == 3 * sum(by_hand(TINY, end, end) for end in ends)
        assert each["naive"].bytes == 3 * sum(weights + end * look for end in ends)
        assert each["padded"].flops == 3 * len(ends) * by_hand(TINY, 6, 6)
        assert each["padded"].bytes == 3 * len(ends) * (weights + 6 * look)
        # The novice's tokens are read forward alone, and written once; forward and backward of a chunk read them.
        assert each["reuse"].flops == by_hand(TINY, 6, 6) + 3 * sum(by_hand(TINY, k, end) for end in ends)
        assert each["reuse"].bytes == sum(
            [weights + 6 * look + 6 * row, *(3 * (weights + k * look) + 2 * (end - k) * row for end in ends)]
        )
        assert each["two_streams"].flops == 3 * by_hand(TINY, 12, 12)
        assert each["two_streams"].bytes == 3 * (weights + 6 * look)  # 12 tokens, but the table has 6 rows
    assert cost.trained(Config(64, 256, 64, 2, 2), 256, 4, "reuse").flops == pytest.approx(0.294e9, rel=1e-2)
    for wrong in (0, 4, 7):
        with pytest.raises(ValueError, match=f"chunk must divide the 6 tokens, got {wrong}"):
            cost.trained(TINY, 6, wrong, "naive")
    with pytest.raises(ValueError, match="way must be"):
        cost.trained(TINY, 6, 2, cast(Any, "magic"))


def test_orderings():
    config = Config(64, 256, width=64, layers=2, heads=4)
    ways = {
        k: {way: cost.trained(config, 256, k, way).flops for way in ("naive", "padded", "reuse", "two_streams")}
        for k in (1, 4, 16, 256)
    }
    for k, each in ways.items():
        assert each["naive"] <= each["padded"]
        assert each["reuse"] <= each["two_streams"]  # the mask's part of the two streams is computed too
        assert k == 256 or each["two_streams"] < each["naive"]
    assert ways[16]["reuse"] < 0.5 * ways[16]["two_streams"]
    assert ways[256]["naive"] < ways[256]["reuse"]  # one chunk: nothing is read again, the novice's text is not needed
    assert ways[1]["two_streams"] == ways[256]["two_streams"]
    assert ways[4]["padded"] > 5 * ways[4]["two_streams"]
    naive = [each["naive"] for each in ways.values()]
    assert naive == sorted(naive, reverse=True)
    for n in (2, 16, 256):
        assert cost.sequence(config, n).flops < cost.sequence(config, n, capacities=(n,)).flops
        assert cost.sequence(config, n).flops < cost.sequence(config, n, cached=False).flops
        assert cost.sequence(config, 2 * n).flops > 2 * cost.sequence(config, n).flops  # not linear


# ---- XLA -----------------------------------------------------------------------------------------------------------

T, CHUNK = 64, 16


def charged(logits, tokens):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], 1).sum()


def naive(params, novice, guide):
    """The loss by a pass over [prefix, chunk] for each chunk, as long as it is."""
    total = 0.0
    for begin in range(0, T, CHUNK):
        end = begin + CHUNK
        mixed = jnp.concatenate([novice[:begin], guide[begin:end]])
        total += charged(transformer.full(LARGE, params, mixed)[begin:], guide[begin:end])
    return total, None


def reuse(params, novice, guide):
    """The loss by a prefill of the novice's tokens without a gradient, and a pass over each chunk on top of it."""
    law, cache = transformer.prefill(LARGE, jax.lax.stop_gradient(params), transformer.empty(LARGE), novice, T - 1)
    total = 0.0
    for begin in range(0, T, CHUNK):
        steps = jnp.arange(begin, begin + CHUNK)
        before = transformer.shifted(LARGE, novice)[begin][None]
        inputs = jnp.concatenate([before, guide[begin : begin + CHUNK - 1]])
        kept = jax.tree.map(lambda part, begin=begin: part[:, :begin], cache) if begin else None
        sees = [jnp.ones((CHUNK, begin), bool)] * (begin > 0) + [steps[None] <= steps[:, None]]
        logits, _ = transformer.Decoder(LARGE).apply({"params": params}, inputs, steps, sees, kept)
        total += charged(logits, guide[begin : begin + CHUNK])
    return total, law  # the prefill's logits are made too


def two_streams(params, novice, guide):
    joins = jnp.arange(T) % CHUNK == 0
    return charged(transformer.two_streams(LARGE, params, novice, guide, joins)[1], guide), None


WAYS = {"naive": naive, "reuse": reuse, "two_streams": two_streams}


@functools.cache
def xla(what):
    """XLA's count of a program of LARGE."""
    params = jax.eval_shape(lambda: transformer.init(LARGE, jax.random.key(0)))
    tokens, cache = jnp.zeros(T, int), transformer.empty(LARGE)
    if what in WAYS:
        return cost.compiled(jax.grad(WAYS[what], has_aux=True), params, tokens, tokens)
    function, arguments = {
        "full": (transformer.full, (params, tokens)),
        "decode": (transformer.decode, (params, cache, tokens[0], jnp.asarray(3))),
        "prefill": (transformer.prefill, (params, cache, tokens, 3)),
        "forward": (transformer.two_streams, (params, tokens, tokens, jnp.arange(T) % 4 == 0)),
    }[what]
    donated = 1 if what in ("decode", "prefill") else ()  # the cache is written in place, as in a loop
    return cost.compiled(jax.jit(functools.partial(function, LARGE), donate_argnums=donated), *arguments)


MODELS = {
    "full": cost.full(LARGE, T),
    "decode": cost.decode(LARGE, T + 1),  # the whole capacity, whatever is written, and itself
    "prefill": cost.prefill(LARGE, T),
    "forward": cost.full(LARGE, 2 * T),
    "naive": cost.trained(LARGE, T, CHUNK, "naive"),
    "reuse": cost.trained(LARGE, T, CHUNK, "reuse"),
    "two_streams": cost.trained(LARGE, T, CHUNK, "two_streams"),
}


@pytest.mark.parametrize("what", MODELS)
def test_xla_counts_as_many_flops(what):
    assert 1 <= xla(what).flops / MODELS[what].flops < 1 + TOLERANCE


@pytest.mark.parametrize("what", MODELS)
def test_xla_moves_at_least_the_bytes_of_the_model(what):
    assert xla(what).bytes >= MODELS[what].bytes


def test_xla_moves_little_beside_the_model_where_activations_are_small():
    """One token: scores and activations are a tenth of the parameters and the cache."""
    assert xla("decode").bytes <= 1.2 * MODELS["decode"].bytes


def test_the_ways_to_train_have_the_same_loss():
    """What is counted is the same loss: a sum over 64 tokens, to float32's 7 digits less what other orders cost."""
    params = jax.jit(functools.partial(transformer.init, LARGE))(jax.random.key(0))
    novice, guide = (jnp.asarray(np.random.default_rng(n).integers(64, size=T)) for n in (0, 1))
    found = [jax.jit(way)(params, novice, guide)[0] for way in WAYS.values()]
    np.testing.assert_allclose(found, found[0], rtol=1e-5)
    assert abs(charged(transformer.full(LARGE, params, guide), guide) - found[0]) > 1e-2  # the prefix does matter


def test_xla_counts_the_body_of_a_loop_once():
    step = lambda x, _: (x @ x, None)
    square = jnp.ones((32, 32))
    counts = [cost.compiled(lambda x, n=n: jax.lax.scan(step, x, None, n)[0], square).flops for n in (4, 64)]
    assert counts[0] == pytest.approx(2 * 32**3, rel=0.01)
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


class Silent:
    """A compiled program whose analysis is as some backends have it."""

    def __init__(self, found):
        self.found = found

    def cost_analysis(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_what_xla_does_not_tell_is_not_a_number():
    full = {"flops": 3.0, "bytes accessed": 5.0}
    assert cost.counted(Silent(full)) == cost.counted(Silent([full])) == (3.0, 5.0)
    assert cost.counted(Silent({"flops": 3.0})).flops == 3.0
    for found in ({}, [], None, NotImplementedError()):
        assert np.isnan(cost.counted(Silent(found))).all()
    assert math.isnan(cost.counted(Silent({"flops": 3.0})).bytes)


def test_peaks_by_the_names_that_devices_have():
    assert cost.peak("NVIDIA H100 80GB HBM3") == cost.peak("NVIDIA H200") == 989e12
    assert cost.peak("NVIDIA A100-SXM4-40GB") == 312e12
    assert cost.peak("NVIDIA H100 PCIe") == 756e12
    assert cost.peak("NVIDIA H100 NVL") == cost.peak("NVIDIA H200 NVL") == 835e12
    assert (cost.peak("Tesla V100-PCIE-16GB"), cost.peak("Tesla V100-SXM2-32GB")) == (112e12, 125e12)
    assert cost.peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    assert cost.peak("NVIDIA L4") == 121e12
    assert cost.peak("NVIDIA L40S") == 362e12
    assert cost.peak("cpu") is None
    assert cost.peak("NVIDIA GeForce RTX 3090") is None

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
from dagger_jax.tokens import transformer
from dagger_jax.tokens.transformer import Config

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
    assert cost.sequence(TINY, 6, capacities=(6,)).flops == 6 * one(6)
    assert cost.sequence(TINY, 6, capacities=(2, 6)).flops == 2 * one(2) + 4 * one(6)
    assert cost.sequence(TINY, 6, capacities=(2, 6), cached=False).flops == 2 * 2 * one(2) + 4 * 6 * one(6)
    assert (
        cost.sequence(TINY, 6, capacities=(2, 6), batch=3).flops == 3 * cost.sequence(TINY, 6, capacities=(2, 6)).flops
    )
    for wrong in ((2, 5), (2, 2, 6), (4, 3, 6), ()):
        with pytest.raises(ValueError, match="capacities must increase to the 6 tokens"):
            cost.sequence(TINY, 6, capacities=wrong)


def test_bytes_are_parameters_once_a_step_and_keys_and_values():
    stored, row = 4 * cost.parameters(TINY), 2 * 2 * 4 * 4  # bytes; keys and values, 2 layers, width 4, float32
    assert cost.decode(TINY, 5).bytes == stored + 6 * row
    assert cost.decode(TINY, 5, batch=8).bytes == stored + 8 * 6 * row  # the batch shares the parameters
    assert cost.prefill(TINY, 5).bytes == stored + 5 * row
    assert cost.prefill(TINY, 5, 6).flops == by_hand(TINY, 5, 6)
    assert cost.full(TINY, 5).bytes == stored
    assert cost.sequence(TINY, 3).bytes == 3 * stored + (2 + 3 + 4) * row
    half = Config(5, 6, width=4, layers=2, heads=2, dtype="bfloat16")
    assert cost.decode(half, 5).bytes == stored + 6 * row // 2
    shapes = jax.eval_shape(lambda: transformer.empty(half))
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)) == 6 * row // 2


def test_a_sequence_crosses_where_its_quadratic_term_is_as_large_as_the_linear_one():
    n = cost.crossing(LARGE)
    assert 2 * cost.multiplied(LARGE) * n == pytest.approx(2 * LARGE.layers * LARGE.width * n * (n + 1))
    n = cost.crossing(LARGE, sequence=False)
    assert 2 * cost.multiplied(LARGE) == pytest.approx(cost.attention(LARGE, n))


def test_chunk_training_by_hand():
    prefixes = {1: (1, 2, 3, 4, 5, 6), 2: (2, 4, 6), 3: (3, 6), 6: (6,)}
    for k, ends in prefixes.items():
        each = {way: cost.trained(TINY, 6, k, way) / 3 for way in ("naive", "padded", "reuse", "two_streams")}
        assert each["naive"] == sum(by_hand(TINY, end, end) for end in ends)
        assert each["padded"] == len(ends) * by_hand(TINY, 6, 6)
        assert each["reuse"] == by_hand(TINY, 6, 6) + sum(by_hand(TINY, k, end) for end in ends)
        assert each["two_streams"] == by_hand(TINY, 12, 12)
    for wrong in (0, 4, 7):
        with pytest.raises(ValueError, match=f"chunk must divide the 6 tokens, got {wrong}"):
            cost.trained(TINY, 6, wrong, "naive")
    with pytest.raises(ValueError, match="way must be"):
        cost.trained(TINY, 6, 2, cast(Any, "magic"))


def test_orderings():
    config = Config(64, 256, width=64, layers=2, heads=4)
    ways = {
        k: {way: cost.trained(config, 256, k, way) for way in ("naive", "padded", "reuse", "two_streams")}
        for k in (1, 4, 16, 256)
    }
    for k, each in ways.items():
        assert each["naive"] <= each["padded"]
        assert each["reuse"] <= each["two_streams"]  # the mask's part of the two streams is computed too
        assert k == 256 or each["two_streams"] < each["naive"]
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


@functools.cache
def xla(what):
    """XLA's count of a program of LARGE."""
    params = jax.eval_shape(lambda: transformer.init(LARGE, jax.random.key(0)))
    tokens, cache = jnp.zeros(64, int), transformer.empty(LARGE)
    joins = jnp.arange(64) % 4 == 0
    both = functools.partial(transformer.two_streams, LARGE)
    return {
        "full": lambda: cost.compiled(functools.partial(transformer.full, LARGE), params, tokens),
        "decode": lambda: cost.compiled(functools.partial(transformer.decode, LARGE), params, cache, tokens[0], 3),
        "prefill": lambda: cost.compiled(functools.partial(transformer.prefill, LARGE), params, cache, tokens, 3),
        "two_streams": lambda: cost.compiled(both, params, tokens, tokens, joins),
        "trained": lambda: cost.compiled(
            jax.jit(jax.grad(lambda params: both(params, tokens, tokens, joins).std())), params
        ),
    }[what]()


@pytest.mark.parametrize(
    ("what", "model"),
    [
        ("full", cost.full(LARGE, 64).flops),
        ("decode", cost.decode(LARGE, 64).flops),  # the whole capacity, whatever is written
        ("prefill", cost.prefill(LARGE, 64, 64).flops),
        ("two_streams", cost.full(LARGE, 128).flops),
        ("trained", cost.trained(LARGE, 64, 4, "two_streams")),
    ],
)
def test_xla_counts_as_many_flops(what, model):
    assert 1 <= xla(what).flops / model < 1 + TOLERANCE


def test_xla_moves_at_least_the_bytes_of_the_model():
    assert xla("decode").bytes >= cost.decode(LARGE, 64).bytes
    assert xla("full").bytes >= cost.full(LARGE, 64).bytes


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
    assert cost.peak("NVIDIA L4") == 121e12
    assert cost.peak("NVIDIA L40S") == 362e12
    assert cost.peak("cpu") is None
    assert cost.peak("NVIDIA GeForce RTX 3090") is None

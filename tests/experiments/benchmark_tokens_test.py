"""The benchmark of token worlds, on texts so short that it takes seconds: what it times is what it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import cost
from dagger_jax.text import transformer
from experiments.shared import timed_tokens as benchmark_tokens

T = 32


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(benchmark_tokens, "LENGTH", T)


@pytest.mark.slow
def test_every_speed_is_measured():
    lines = benchmark_tokens.measure([1, 3], 1)
    assert [(line["what"], line["batch"]) for line in lines] == [
        *(("written", batch) for batch in (1, 3)),
        *(("read", batch) for batch in (1, 3)),
        ("trained, gradient step", 16 if jax.default_backend() == "cpu" else 256),
        ("trained, whole round", 16 if jax.default_backend() == "cpu" else 256),
    ]
    for line in lines:
        assert line["tokens_per_second"] > 0
        # FLOPs over tokens: both are over the same time.
        each = line["flops_per_second"] / line["tokens_per_second"]
        written = cost.sequence(benchmark_tokens.decoder(), T).flops / T
        times = {"trained, gradient step": 6, "trained, whole round": 7}.get(line["what"], 1)
        assert each == pytest.approx(times * written)


def test_needed_flops_are_below_those_computed():
    """Utilisation counts no product that a mask bars; at the size that a GPU runs, in the proportions that are told."""
    config = transformer.Config(64, 256, width=512, layers=8, heads=8, dtype="bfloat16")
    needed = cost.sequence(config, 256).flops
    assert cost.sequence(config, 256, capacities=(256,)).flops / needed == pytest.approx(1.04, abs=0.005)
    assert cost.trained(config, 256, 4, "two_streams").flops / (6 * needed) == pytest.approx(1.12, abs=0.005)


def test_both_ways_compared_have_the_same_loss_and_gradient():
    config = benchmark_tokens.decoder()
    params = jax.jit(transformer.init)(config, jax.random.key(0))
    novice, guide = (jnp.asarray(np.random.default_rng(n).integers(64, size=T)) for n in (0, 1))
    loss = jax.value_and_grad(benchmark_tokens.two_streams_loss, argnums=1)
    for chunk in (1, 4, 16):
        ours = jax.jit(functools.partial(loss, config))(params, novice[None], guide[None], jnp.arange(T) % chunk == 0)
        theirs = jax.jit(functools.partial(benchmark_tokens.prefills, config, chunk))(params, novice, guide)
        # Losses of order 4, gradients of order 0.1, in float32, sums in other orders.
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_ratios_and_tables():
    ratios = benchmark_tokens.streams(1)
    assert [line["chunk"] for line in ratios] == [1, 4, 16]
    flops = [line["exact_flops"] for line in ratios]
    assert flops == sorted(flops, reverse=True)
    assert all(line["padded_ratio"] > 0 and line["exact_ratio"] > 0 for line in ratios)
    speed = {"what": "written", "batch": 1, "tokens_per_second": 5.0, "compile_seconds": 1.0}
    lines = [speed | benchmark_tokens.achieved(1e9, 0.5), speed | {"flops_per_second": 2e9, "utilisation": 0.25}]
    assert [table.row_count for table in benchmark_tokens.shown(lines, ratios)] == [2, 3]

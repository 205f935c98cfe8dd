"""The optimal partition against brute force over all partitions, and against what convexity says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import planning

PLAN = float64(planning.optimal_partition)
MANY = float64(jax.vmap(planning.optimal_partition))


def all_partitions(horizon):
    """Every one of the 2^(T - 1) partitions. [2^(T-1), T] bool"""
    bits = np.arange(2 ** (horizon - 1))[:, None] >> np.arange(horizon - 1) & 1
    return np.concatenate([np.ones((len(bits), 1), bool), bits.astype(bool)], 1)


def price_of(boundary, eps, recoverability, span, per_chunk, detectability):
    """Of each partition [P, T], chunk by chunk (docs/theory.md#planning-a-partition); inf where a chunk may be told."""
    horizon = len(eps)
    ends = np.full((len(boundary), horizon), horizon)
    for t in range(horizon - 2, -1, -1):  # the step after the chunk's last
        ends[:, t] = np.where(boundary[:, t + 1], t + 1, ends[:, t + 1])
    steps = np.arange(horizon)
    left = ends - steps
    each = eps * np.minimum(np.minimum(recoverability * left, left + span[ends - 1]), horizon - steps)
    price = boundary.sum(1) * per_chunk + each.sum(1)
    agree = np.ones(len(boundary))
    begun = np.zeros(len(boundary), int)
    for t in range(horizon):
        agree = np.where(boundary[:, t], 1.0, agree) * (1 - eps[t])
        begun = np.where(boundary[:, t], t, begun)
        price = np.where((1 - agree > detectability) & (t > begun), np.inf, price)
    return price


def drawn(count, horizon, rng):
    """Errors (with zeros and, now and then, a certain one), u, spans, prices, limits: a few of each extreme."""
    eps = rng.random((count, horizon)) * 10.0 ** rng.uniform(-3, 0, (count, 1))
    eps *= rng.random((count, horizon)) < rng.choice([0.3, 0.8, 1.0], (count, 1))
    eps = np.where(rng.random((count, horizon)) < 0.02, 1.0, eps)
    span = rng.random((count, horizon)) * rng.choice([0.0, 1.0, horizon], (count, 1))
    span[:, -1] = 0.0
    recoverability = rng.choice([0.5, 1.0, 3.0, horizon], count) * rng.uniform(0.9, 1.1, count)
    per_chunk = rng.choice([0.0, 0.01, 0.1, 1.0], count) * rng.uniform(0.9, 1.1, count)
    detectability = np.where(rng.random(count) < 0.3, 1.0, rng.random(count) ** 2)
    return eps, recoverability, span, per_chunk, detectability


@pytest.mark.parametrize(("horizon", "count"), [(1, 5), (2, 100), (3, 200), (7, 300), (10, 100), (12, 60)])
def test_dynamic_program_is_brute_force(horizon, count):
    """Over all 2^(T-1) partitions, to the rounding of a dozen float64 sums; and the starts have that price."""
    every, given = all_partitions(horizon), drawn(count, horizon, np.random.default_rng(horizon))
    found = MANY(*given)
    chunks, limited = [], 0
    for n in range(count):
        one = [leaf[n] for leaf in given]
        prices = price_of(every, *one)
        np.testing.assert_allclose(found.value[n], prices.min(), rtol=1e-12, atol=1e-13)
        boundary = found.starts[n] == 1
        np.testing.assert_allclose(price_of(boundary[None], *one)[0], prices.min(), rtol=1e-12, atol=1e-13)
        limited += prices.min() > price_of(every, one[0], one[1], one[2], one[3], 1.0).min() + 1e-6
        chunks.append(boundary.sum())
    assert set(np.unique(found.starts)) <= {0, 1}
    if horizon >= 7:
        assert limited > 5  # the limit binds
        assert len(np.unique(chunks)) >= min(horizon, 7)


@pytest.mark.slow
def test_dynamic_program_is_brute_force_for_many():
    every, given = all_partitions(12), drawn(1500, 12, np.random.default_rng(99))
    found = MANY(*given)
    least = [price_of(every, *(leaf[n] for leaf in given)).min() for n in range(1500)]
    np.testing.assert_allclose(found.value, least, rtol=1e-12, atol=1e-13)


def test_price_is_the_bound_of_the_partition():
    """hand-overs x price + bounds.chunk_combined, on invented evidence."""
    given = drawn(20, 9, np.random.default_rng(5))
    found = MANY(*given)
    for n in range(20):
        eps, u, span, per_chunk, _ = (leaf[n] for leaf in given)
        row = schedules.row(schedules.chunked(1, found.starts[n]), 0)
        zero = 0 * eps
        seen = evidence.Evidence(u, u, eps, zero, zero, zero, zero, zero, len(eps))
        known = evidence.Constants(zero, zero, np.asarray(u), span, 0 * u)
        bound = float64(bounds.chunk_combined)(row, seen, known)
        np.testing.assert_allclose(found.starts[n].sum() * per_chunk + bound, found.value[n], rtol=1e-12)


@pytest.mark.parametrize("horizon", [24, 30, 64])
def test_equal_lengths_for_uniform_errors(horizon):
    """By convexity lengths differ by at most 1, and m chunks cost m c + u eps sum k (k + 1) / 2, least over m.

    docs/theory.md#chunks-variable-lengths.
    """
    seen = set()
    for per_chunk in (0.0, 0.02, 0.1, 0.5, 2.0, 100.0):
        found = PLAN(np.full(horizon, 0.01), 1.0, np.zeros(horizon), per_chunk)
        lengths = np.diff(np.append(np.flatnonzero(found.starts), horizon))
        assert lengths.max() - lengths.min() <= 1
        seen.add(len(lengths))
        prices = []
        for m in range(1, horizon + 1):
            q, r = divmod(horizon, m)
            prices.append(m * per_chunk + 0.01 * (r * (q + 1) * (q + 2) + (m - r) * q * (q + 1)) / 2)
        np.testing.assert_allclose(found.value, min(prices), rtol=1e-12)
    assert {1, horizon} <= seen
    assert len(seen) >= 5


def test_chunks_are_short_where_errors_are():
    eps = np.where(np.arange(40) < 20, 0.05, 0.001)
    starts = PLAN(eps, 1.0, np.zeros(40), 0.1).starts
    assert 0 < 3 * starts[20:].sum() < starts[:20].sum()


def test_a_certain_error_ends_no_later_chunk():
    """An error of 1 tells its own chunk only; also in float32, where 1 - 1e-12 is 1."""
    eps = np.array([0.1, 1.0, 0.0, 0.0, 0.1])
    for plan in (PLAN, planning.optimal_partition):
        found = plan(eps, 1.0, np.zeros(5), 10.0, 0.2)
        np.testing.assert_array_equal(found.starts, [1, 1, 1, 0, 0])


@pytest.mark.parametrize("horizon", [1, 128, 512])
def test_one_program_at_any_price(horizon):
    """Traced and vmapped over errors, u, spans, prices and limits, up to 512 steps in float32; a second batch too."""
    traces = []

    @jax.jit
    def plan(*given):
        traces.append(given)
        return jax.vmap(planning.optimal_partition)(*given)

    for seed in (0, 1):
        given = [np.asarray(leaf, np.float32) for leaf in drawn(4, horizon, np.random.default_rng(seed))]
        found = plan(*given)
        wanted = MANY(*given)
        np.testing.assert_allclose(found.value, wanted.value, rtol=1e-3)  # float32: limits met to 512 roundings
        assert found.starts.shape == (4, horizon)
        assert found.starts.dtype == jnp.float32
        assert (found.starts[:, 0] == 1).all()
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("eps", -0.1), ("eps", 1.5), ("eps", np.nan), ("per_chunk", -1.0), ("detectability", 2.0), ("per_chunk", np.nan)],
)
def test_refusals(name, value):
    given = {"eps": np.full(4, 0.1), "per_chunk": 1.0, "detectability": 0.5}
    given[name] = np.full(4, value) if name == "eps" else value
    with pytest.raises(ValueError, match=rf"^{name} must lie in \[0, "):
        planning.optimal_partition(given["eps"], 1.0, np.zeros(4), given["per_chunk"], given["detectability"])

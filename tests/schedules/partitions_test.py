"""Chunk partitions beyond equal and given lengths: drawn, growing, forked, round trips, and sums along a chunk."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import gallery, randomness, schedules, strategies
from dagger_jax.tabular import exact, gates, labels, rollout

T = 16
CHANCES = np.array([0.1, 0.0, 0.4, 0.3, 0.2])
KEYS = jax.vmap(jax.random.key)(np.arange(20_000))


def lengths_of(boundary):
    """Lengths of a partition, read off where it starts."""
    first = np.flatnonzero(np.asarray(boundary))
    return np.diff(np.append(first, len(boundary)))


# ---- drawn ---------------------------------------------------------------------------------------------------


def renewal(chances, horizon):
    """P(a chunk starts at t) = sum_k P(K = k) P(a chunk starts at t - k), from certainty at 0."""
    start = np.zeros(horizon)
    start[0] = 1.0
    for t in range(1, horizon):
        start[t] = sum(chances[k - 1] * start[t - k] for k in range(1, min(t, len(chances)) + 1))
    return start


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_drawn_boundaries_are_a_renewal_process(scale):
    """20,000 keys in one vmap, 15 shares within 4.5 standard errors (1e-4 in all); chances may sum to anything."""
    drawn = np.asarray(jax.vmap(lambda key: schedules.drawn(key, T, scale * CHANCES))(KEYS))
    wanted = renewal(CHANCES, T)
    assert drawn[:, 0].all()
    assert not drawn[:, 2][drawn[:, 1] == 0].any()  # no chunk of 2 steps, and one of 1 + 1 starts at 1
    error = np.sqrt(wanted * (1 - wanted) / len(KEYS))[1:]
    assert (error > 0).all()
    assert np.abs(drawn.mean(0)[1:] - wanted[1:]).max() < 4.5 * error.max()
    assert (np.abs(drawn.mean(0)[1:] - wanted[1:]) < 4.5 * error).all()


def test_drawn_lengths_are_independent():
    """The table of the first two lengths, both inside the horizon of 16: 25 cells within 4.5 standard errors."""
    drawn = np.asarray(jax.vmap(lambda key: schedules.drawn(key, T, CHANCES))(KEYS))
    pairs = np.array([lengths_of(boundary)[:2] for boundary in drawn])
    seen = np.zeros((5, 5))
    np.add.at(seen, tuple(pairs.T - 1), 1 / len(KEYS))
    wanted = np.outer(CHANCES, CHANCES)
    assert (np.abs(seen - wanted) <= 4.5 * np.sqrt(wanted * (1 - wanted) / len(KEYS))).all()


def test_drawn_by_a_certain_law_is_a_fixed_length():
    for k in range(1, 6):
        drawn = schedules.drawn(jax.random.key(3), T, np.eye(5)[k - 1])
        np.testing.assert_array_equal(drawn, schedules.starts(T, k))


def test_drawn_differs_by_key_and_repeats_by_key():
    drawn = np.asarray(jax.vmap(lambda key: schedules.drawn(key, T, CHANCES))(KEYS[:64]))
    assert len(np.unique(drawn, axis=0)) > 32
    for n in (0, 17):
        np.testing.assert_array_equal(schedules.drawn(KEYS[n], T, CHANCES), drawn[n])


@pytest.mark.parametrize("chances", [[0.5, -0.1, 0.6], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_drawn_refuses(chances):
    with pytest.raises(ValueError, match=r"chances of chunk lengths must be at least 0 and not all 0, got \["):
        schedules.drawn(jax.random.key(0), T, np.array(chances))


@pytest.mark.parametrize("length", [0, -3])
def test_starts_refuses(length):
    with pytest.raises(ValueError, match=rf"chunk lengths must be at least 1 step, got {length}"):
        schedules.starts(T, length)


# ---- growing, forks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "factor", "wanted"),
    [
        (1, 2, [1, 2, 4, 8, 16, 9]),
        (16, 0.5, [16, 8, 4, 2] + [1] * 10),
        (3, 1, [3] * 13 + [1]),
        (2, 1.5, [2, 3, 4, 7, 10, 14]),  # 2, 3, 4.5, 6.75, 10.1, 15.2: rounded half to even, cut at 40
        (0.2, 3, [1, 1, 2, 5, 16, 15]),  # 0.2, 0.6, 1.8, 5.4, 16.2, 48.6: at least 1
        (1, 1e30, [1, 39]),  # 1e60 and on are inf in float32
        (5, 0, [5] + [1] * 35),
    ],
)
def test_growing_and_shrinking(first, factor, wanted):
    assert sum(wanted) == 40
    np.testing.assert_array_equal(lengths_of(schedules.growing(40, first, factor)), wanted)


def test_forks():
    np.testing.assert_array_equal(np.flatnonzero(schedules.forks(8, [5, 2, 5])), [0, 2, 5])
    np.testing.assert_array_equal(np.flatnonzero(schedules.forks(8, [8, 100])), [0])
    np.testing.assert_array_equal(np.flatnonzero(schedules.forks(8, np.arange(8))), np.arange(8))


# ---- any partition ---------------------------------------------------------------------------------------------


def zoo(key, k, offset, factor, fork, law):
    """One of each kind of partition of T steps, from traced numbers. [6, T]"""
    each = [
        schedules.starts(T, k, offset),
        schedules.drawn(key, T, law),
        schedules.growing(T, k, factor),
        schedules.growing(T, 1, 1 / factor),
        schedules.forks(T, fork),
        schedules.partition(T, jnp.concatenate([fork + 1, jnp.full(T, k)])),
    ]
    return jnp.stack([boundary.astype(float) for boundary in each])


def numbers(count, seed):
    rng = np.random.default_rng(seed)
    keys = jax.vmap(jax.random.key)(rng.integers(0, 2**31, count))
    k, offset = rng.integers(1, T + 1, count), rng.integers(0, T, count)
    return keys, k, offset, rng.uniform(0.5, 2, count), rng.integers(0, T + 4, (count, 3)), rng.random((count, 5))


def test_everything_is_traced_and_labels_every_step_once():
    """Two sets of 300 numbers in one program; each of 1,800 partitions as chunks, excursions and round trips."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def build(*each):
        partitions = jax.vmap(zoo)(*each).reshape(-1, T)

        def tables(boundary):
            trip = schedules.round_trip(1, boundary, (1 - boundary) * (schedules.offsets(boundary) % 3 == 1))
            return schedules.stack([schedules.chunked(1, boundary), schedules.reset(1, boundary), trip])

        return partitions, jax.vmap(tables)(partitions), jax.vmap(schedules.offsets)(partitions)

    seen = set()
    for seed in (0, 1):
        partitions, tables, offsets = jax.device_get(build(*numbers(300, seed)))
        assert set(np.unique(partitions)) == {0, 1}
        assert (partitions[:, 0] == 1).all()
        np.testing.assert_array_equal(tables.label_guide + tables.label_novice, np.ones((1800, 3, 1, T)))
        np.testing.assert_array_equal(tables.join[:, 0, 0], partitions)
        for boundary, offset in zip(partitions, offsets, strict=True):
            wanted = np.concatenate([np.arange(k) for k in lengths_of(boundary)])
            np.testing.assert_array_equal(offset, wanted)
            seen.add(bytes(boundary.astype(bool)))
        schedules.validate(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), tables))
    assert len(seen) > 700


def test_random_phase_by_a_vmapped_offset():
    """Over the k offsets P(step t is a chunk start) = 1/k at every t but the first. One program.

    docs/theory.md#chunks-random-phase.
    """

    @jax.jit
    @chex.assert_max_traces(n=1)
    def shares(length):
        offsets = jnp.arange(T)
        each = jax.vmap(lambda offset: schedules.starts(T, length, offset))(offsets)
        return (each * (offsets < length)[:, None]).sum(0) / length

    for length in range(1, T + 1):
        np.testing.assert_allclose(shares(length), [1] + [1 / length] * (T - 1), rtol=1e-6)


def test_by_offset_averages_what_has_the_same_offset():
    rng = np.random.default_rng(5)
    for boundary in np.asarray(jax.vmap(zoo)(*numbers(10, 2))).reshape(-1, T):
        values, groups = rng.random(T), [[] for _ in range(T)]
        for t, offset in enumerate(np.concatenate([np.arange(k) for k in lengths_of(boundary)])):
            groups[offset].append(values[t])
        means, count = schedules.by_offset(values, boundary)
        np.testing.assert_array_equal(count, [len(group) for group in groups])
        np.testing.assert_allclose(means, [float(np.mean(group or [0.0])) for group in groups], rtol=1e-6)  # float32


def test_restart_mixes_by_a_coin():
    np.testing.assert_allclose(schedules.restart(np.array([0, 0.25, 1]), np.full(3, 8.0), np.full(3, 4.0)), [8, 7, 4])


# ---- round trips -------------------------------------------------------------------------------------------------


def test_round_trip_columns():
    table = schedules.validate(schedules.round_trip(2, schedules.forks(6, [3]), schedules.forks(6, [1, 5])))
    np.testing.assert_array_equal(table.join, [[1, 0, 0, 1, 0, 0]] * 2)
    np.testing.assert_array_equal(table.back, [[0, 1, 0, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(table.label_guide, np.full((2, 6), 0.5))
    np.testing.assert_array_equal(table.label_novice, np.full((2, 6), 0.5))
    with pytest.raises(ValueError, match=r"join and schedule\.back both act at"):
        schedules.validate(schedules.round_trip(1, schedules.forks(6, [3]), schedules.forks(6, [3])))


@pytest.mark.parametrize("temperature", [None, 0.3])
def test_round_trip_sampled_is_exact(temperature):
    """Label frequencies of 40,000 episodes at 8 steps, 4 states, 2 actions within 5 standard errors (1e-4 in all)."""
    problem = gallery.random_mdp(8, 4, 2, seed=6, temperature=temperature)
    policy = np.random.default_rng(1).dirichlet(np.ones(2), (8, 4))
    row = schedules.row(schedules.round_trip(1, schedules.forks(8, [3, 6]), schedules.forks(8, [2, 5])), 0)
    count = 40_000
    key = randomness.for_round(randomness.words(jax.random.key(2)), 0)
    sampled, kept = rollout.play(rollout.tables(problem), policy, row, key, np.arange(count, dtype=np.uint32))
    laws = exact.frequencies(problem, exact.play(problem, policy, row))
    assert sampled.guide is not None
    assert laws.guide is not None
    assert laws.agreement is not None
    for seen, law in ((sampled.novice, laws.novice), (sampled.guide, laws.guide)):
        error = 5 * np.sqrt(law * (1 - law) / count) + 1e-6
        assert (np.abs(seen - law) <= error).all()
    weight = labels.imitate(problem, sampled, row, policy).weight
    np.testing.assert_allclose(weight.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(kept.chunks, 3)
    parted = 1 - np.asarray(laws.agreement)
    assert parted[7] > 0.05  # both jumps happen while they are apart
    np.testing.assert_allclose(laws.guide[3].sum(-1), laws.novice[3].sum(-1), rtol=1e-12)
    np.testing.assert_allclose(laws.novice[5].sum(-1), laws.guide[5].sum(-1), rtol=1e-12)
    assert np.abs(laws.novice[4].sum(-1) - laws.guide[4].sum(-1)).max() > 0.01


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: schedules.growing(8, -3, 2.0), "first of growing chunks must be a number from 0, got -3"),
        (lambda: schedules.growing(8, np.nan, 2.0), "first of growing chunks must be a number from 0, got nan"),
        (lambda: schedules.growing(8, 2, -1.0), "factor of growing chunks must be a number from 0, got -1"),
        (lambda: schedules.forks(8, [-1]), r"forks must be steps from 0, got \[-1\]"),
        (lambda: strategies.chunks(jnp.array([0, -3]), 8), r"at least 1 step, got \[0, -3\]"),
        (lambda: strategies.excursions(jnp.array([2, 0]), 8), r"at least 1 step, got \[2, 0\]"),
        (lambda: gates.above_quantile(jnp.ones((2, 2)), jnp.ones((2, 2)), 3.0), r"rate must lie in \[0, 1\], got 3"),
    ],
)
def test_lengths_steps_and_rates_are_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()

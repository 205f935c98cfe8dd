"""Equalities where chunk lengths vary, and the cost of their variance.

docs/theory.md#chunks-variable-lengths, docs/theory.md#the-chunk-reset-chain.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, oracle

TOLERANCE = 1e-9

# ---- equalities --------------------------------------------------------------------------------------------------

LONG = 40
LAW = np.array([0.2, 0.1, 0.3, 0.0, 0.2, 0.1, 0.1])
PARTITIONS = {
    "drawn": lambda n: schedules.drawn(jax.random.key(n), LONG, LAW),
    "growing": lambda n: schedules.growing(LONG, 1 + n, 1.3),
    "shrinking": lambda n: schedules.growing(LONG, 12 - n, 0.8),
    "forks": lambda n: schedules.forks(LONG, np.random.default_rng(n).integers(1, LONG, 3 + n)),
    "phase": lambda n: schedules.starts(LONG, 9, 2 + n),
}
VARIED = [(kind, n) for kind in PARTITIONS for n in range(4)]


def varied(kind, n):
    """A partition of 40 steps, where its chunks start and their lengths."""
    boundary = PARTITIONS[kind](n)
    first = np.flatnonzero(boundary)
    lengths = np.diff(np.append(first, LONG))
    assert len(set(lengths)) > 1
    return boundary, first, lengths


def measured(problem, policy, boundary, build=schedules.chunked):
    row, known = schedules.row(build(1, jnp.asarray(boundary)), 0), evidence.constants(problem)
    return row, evidence.measure(problem, policy, row, known), known


def stuck(good, states=2):
    """Errs with good[t] where it did not err last, and for ever after: docs/theory.md#the-chunk-reset-chain."""
    policy = np.zeros((len(good), states, 2))
    policy[:, 1::2, 1] = 1.0
    policy[:, 0::2] = np.stack([1 - good, good], -1)[:, None]
    return policy


@pytest.mark.parametrize(("kind", "n"), VARIED)
def test_equalities_for_variable_lengths(kind, n):
    """docs/theory.md#the-chunk-reset-chain and docs/theory.md#the-cliff, to 1e-9, exact in eps."""
    boundary, first, lengths = varied(kind, n)
    eps = 0.02
    # All error at chunk starts, k_j eps in both states: the gap is the sum of eps k_j^2, which is u sum r_t eps_t.
    policy = stuck(oracle.placement(boundary, eps, "first"))
    policy[first, 1] = policy[first, 0]
    row, seen, known = measured(gallery.chunk_reset(LONG), policy, boundary)
    assert abs(seen.gap - eps * (lengths**2).sum()) < TOLERANCE
    assert abs(float64(bounds.chunk_recoverable)(row, seen, known) - seen.gap) < TOLERANCE
    assert abs(seen.eps.mean() - eps) < TOLERANCE
    # Uniform errors: each chunk by its own sum.
    policy = stuck(np.full(LONG, eps))
    policy[first, 1] = policy[first, 0]
    _, seen, _ = measured(gallery.chunk_reset(LONG), policy, boundary)
    assert np.abs(seen.eps - eps).max() < TOLERANCE
    assert abs(seen.gap - gallery.chunk_reset_gap(lengths, eps)) < TOLERANCE
    # No way back: no partition helps.
    cliff = gallery.cliff(LONG)
    policy = np.array([[[1 - eps, eps], [1.0, 0.0]]])
    assert abs(measured(cliff, policy, boundary)[1].gap - gallery.cliff_gap(LONG, eps)) < TOLERANCE


@pytest.mark.parametrize(("kind", "n"), VARIED[::2])
def test_equality_for_debts(kind, n):
    """u eps sum k_j^2, less what is unpaid after step T; debts stay below the most.

    docs/theory.md#the-debt-world.
    """
    boundary, first, lengths = varied(kind, n)
    u, most, eps = 3, 2 * LONG + 1, 0.02
    problem = gallery.debt(LONG, u, most)
    policy = stuck(oracle.placement(boundary, eps, "first"), 2 * most + 2)
    policy[first, 1::2] = policy[first, :1]
    row, seen, known = measured(problem, policy, boundary)
    alone = schedules.row(schedules.behavioural_cloning(1, LONG), 0)
    unpaid = exact.play(problem, policy, alone).last @ (np.arange(2 * most + 2) // 2)
    assert abs(seen.gap + unpaid - u * eps * (lengths**2).sum()) < TOLERANCE
    assert seen.gap <= float64(bounds.chunk_recoverable)(row, seen, known) + TOLERANCE
    assert unpaid > 0
    assert seen.gap > 0.1


@pytest.mark.parametrize(("kind", "n"), VARIED[1::2])
def test_equality_for_resets(kind, n):
    """The first error at a chunk's end lasts: sum_j k_j eps prod_{i<j} (1 - k_i eps)(T - e_j + 1).

    docs/theory.md#excursions-the-reset-variant.
    """
    boundary, first, lengths = varied(kind, n)
    for eps, first_order in ((0.01, 1.0), (1e-7, 2e-5)):
        policy = stuck(oracle.placement(boundary, eps, "last"))
        row, seen, known = measured(gallery.chunk_reset(LONG), policy, boundary, schedules.reset)
        survive = np.cumprod(np.append(1.0, 1 - lengths[:-1] * eps))
        assert abs(seen.gap - (lengths * eps * survive * (LONG - (first + lengths) + 1)).sum()) < TOLERANCE
        bound = float64(bounds.reset_variant)(row, seen, known)
        assert 0 <= bound - seen.gap + 1e-15 <= first_order * bound


# ---- the price of variance -----------------------------------------------------------------------------------------


def test_geometric_chunks_cost_twice_as_much_as_equal_ones():
    """With errors the same at every step, 2k / (k + 1) at equal mean k; both learners do their worst.

    docs/theory.md#chunks-geometric-lengths.

    Under coins of 1/k the learner errs always in B and so seldom in G that each step's training error is eps. The
    chain needs some k of the 4,000 steps to get there: 1% for 32, and k eps is below 1e-4.
    """
    horizon, ratios = 4000, []
    problem = gallery.chunk_reset(horizon)
    for k in (1, 4, 16, 32):
        eps = 1e-6
        fixed = stuck(np.full(horizon, eps))
        equal = np.asarray(schedules.starts(horizon, k))
        fixed[equal, 1] = fixed[equal, 0]
        off, good = 0.0, []
        for t in range(horizon):  # of `off`, the chance to be in B by itself, the guide has 1/k where it joins
            there = off / k if t else 0.0
            good.append((eps - there) / (1 - there))
            off = off + (1 - off) * good[-1]
        apart = {}
        for name, policy, boundary in (
            ("equal", fixed, equal),
            ("geometric", stuck(np.array(good)), schedules.geometric(horizon, float(k))),
        ):
            row, seen, known = measured(problem, policy, boundary)
            np.testing.assert_allclose(seen.eps, eps, rtol=1e-4)  # coins are float32
            apart[name] = seen.gap
            assert seen.gap <= float64(bounds.chunk_recoverable)(row, seen, known) * (1 + 1e-9)
        ratios.append(apart["geometric"] / apart["equal"])
        np.testing.assert_allclose(ratios[-1], 2 * k / (k + 1), rtol=0.02)
    assert ratios[-1] > 1.9

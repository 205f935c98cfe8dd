"""Closed forms against exact fractions, down to the smallest errors: nothing cancels."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, growth
from dagger_jax.precision import float64
from dagger_jax.tabular import gallery
from dagger_jax.tabular.gallery import regimes
from experiments.detectability import worlds as detectability_worlds

TINY = (0.3, 1e-3, 1e-9, 1e-17, 1e-100, 1e-300)
# Rounded sums and powers of T terms: T times half of a unit in the last place, and some to spare.
RELATIVE = 1e-13


def ever(chance, steps):
    """P(at least one of t = 1..steps coins), exactly."""
    missed = 1 - Fraction(chance)
    return [1 - missed**t for t in range(1, steps + 1)]


def equal(found, wanted):
    assert abs(Fraction(float(found)) / wanted - 1) < RELATIVE


@pytest.mark.parametrize("horizon", [1, 8, 100])
@pytest.mark.parametrize("eps", TINY)
def test_gaps_of_stated_errors(horizon, eps):
    equal(gallery.cliff_gap(horizon, eps), sum(ever(eps, horizon)))
    equal(gallery.copy_chain_gap(horizon, eps), sum(ever(2 * eps, horizon)) / 2)
    equal(gallery.chunk_reset_gap(np.array([horizon, 3]), eps), sum(ever(eps, horizon)) + sum(ever(eps, 3)))
    equal(gallery.leaf_tree_gap(horizon + 1, eps), ever(eps, horizon)[-1])
    for gap in (gallery.hybrid_gap, gallery.hard_gap):
        equal(gap(horizon + 1, eps), sum(ever(eps, horizon)))


@pytest.mark.parametrize("eps", [0.0, 0.5, 0.75, 1.0])
def test_gaps_at_the_ends(eps):
    equal(1 + gallery.cliff_gap(5, eps), 1 + sum(ever(eps, 5)))
    equal(1 + gallery.copy_chain_gap(5, eps), 1 + sum(ever(2 * eps, 5)) / 2)
    assert gallery.hard_gap(1, eps) == gallery.hybrid_gap(1, eps) == 0


@pytest.mark.parametrize("slip", TINY)
@pytest.mark.parametrize("restart", [0.05, 1e-9, 1e-300])
def test_gaps_of_restarts(slip, restart):
    stays = (1 - Fraction(restart)) * (1 - Fraction(slip))
    share, wanted = Fraction(1), Fraction(0)
    for _ in range(20):
        wanted += 1 - Fraction(regimes.FRESH[0]) * share
        share = share * stays + Fraction(restart)
    equal(gallery.goldilocks_gap(20, 0, slip, restart), wanted)


@pytest.mark.parametrize(("eps", "ratio"), [(1e-300, 2.0), (0.1, 2.0), (0.1, 2.0**40), (0.1, 1e300)])
def test_gap_of_a_density_ratio(eps, ratio):
    growth = Fraction(eps) / Fraction(0.1) * (1 - 1 / Fraction(ratio))
    wanted = Fraction(eps) * sum(growth**i * (20 - i) for i in range(20))
    equal(gallery.density_ratio_gap(20, eps, ratio, 0.1), wanted)


@pytest.mark.parametrize("samples", [2, 1000, 10**9])
def test_what_many_samples_have_not_shown(samples):
    """(1 - 1/n)^n of large n, against its series exp(-1 - 1/(2n) - 1/(3n²) - ...)."""
    series = np.exp(-1 - sum(float(samples) ** -k / (k + 1) for k in range(1, 60)))
    np.testing.assert_allclose(gallery.two_state_bandit_gap(8, samples), series * 8 / (2 * samples), rtol=1e-13)
    rare = np.array([1 / samples, 0.0, 1.0])
    unseen = float64(bounds.statistics.unseen)(rare, samples)
    np.testing.assert_allclose(unseen, series / samples, rtol=1e-13)


@pytest.mark.parametrize("beta", [*TINY, 0.0, 1.0])
def test_shift_of_a_small_share_of_the_expert(beta):
    zero = jnp.zeros(1)
    terms = float64(lambda share: bounds.no_regret(zero, zero, zero[0], share, 50))(np.array([beta]))
    assert terms.sharp_shift.dtype == np.float64
    equal(1e-310 + terms.sharp_shift, Fraction(1e-310) + sum([0, *ever(beta, 49)]) / 50)


@pytest.mark.parametrize("eps", [1e-3, 1e-7])
@pytest.mark.parametrize("world", ["chunk_reset", "coin"])
def test_distances_of_a_small_error(world, eps):
    """D_H² of k steps is k times that of one to first order."""
    one, four = (detectability_worlds.closed_form(world, eps, k)["hellinger"] for k in (1, 4))
    first = eps if world == "chunk_reset" else eps**2
    np.testing.assert_allclose([one, four], [first, 4 * first], rtol=10 * eps)


@pytest.mark.parametrize("eps", [1e-9, 1e-17, 1e-300])
def test_growth_of_tiny_gaps(eps):
    horizons = [8, 16, 32]
    assert growth.fit(horizons, [gallery.cliff_gap(h, eps) for h in horizons]).verdict == "quadratic"

"""The named worlds against their closed forms, which docs/theory.md derives by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, schedules
from dagger_jax.tabular import exact, gallery, oracle

RELATIVE = 1e-9


def judge(problem, policy, boundary, kind=schedules.chunked):
    row = schedules.row(kind(1, jnp.asarray(boundary)), 0)
    return evidence.measure(problem, policy, row, evidence.constants(problem))


def oracle_gap(problem, boundary, eps, where, kind=schedules.chunked):
    row = schedules.row(kind(1, jnp.asarray(boundary)), 0)
    errors = oracle.placement(boundary, eps, where)
    seen = judge(problem, oracle.policy(problem, row, errors), boundary, kind)
    np.testing.assert_allclose(seen.eps, errors, rtol=0, atol=1e-14)  # the gap is of the eps that was asked for
    return seen


def lengths_of(boundary):
    return np.diff(np.append(np.flatnonzero(boundary), len(boundary)))


# ---- closed forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 7, 24, 100])
@pytest.mark.parametrize("eps", [1e-6, 1e-3, 0.3])
def test_cliff_whatever_the_chunks(horizon, eps):
    gaps = [
        oracle_gap(gallery.cliff(horizon), schedules.starts(horizon, k), eps, "uniform").gap
        for k in sorted({1, 2, min(5, horizon), horizon})
    ]
    np.testing.assert_allclose(gaps, gallery.cliff_gap(horizon, eps), rtol=RELATIVE)
    wanted = sum(1 - (1 - eps) ** t for t in range(1, horizon + 1))
    np.testing.assert_allclose(gallery.cliff_gap(horizon, eps), wanted, rtol=1e-8)


@pytest.mark.parametrize("horizon", [1, 5, 40])
@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.02])
@pytest.mark.parametrize("cost", [0.0, 0.25, 0.9])
def test_rb3(horizon, eps, cost):
    seen = oracle_gap(gallery.rb3(horizon, cost), schedules.starts(horizon, horizon), eps, "start")
    np.testing.assert_allclose(seen.expert_cost, horizon * cost, rtol=RELATIVE)
    wanted = (1 - eps * horizon) * horizon * cost + horizon**2 * eps
    np.testing.assert_allclose(seen.expert_cost + seen.gap, wanted, rtol=RELATIVE)
    np.testing.assert_allclose(seen.gap, gallery.rb3_gap(horizon, eps, cost), rtol=RELATIVE)


@pytest.mark.parametrize("horizon", [1, 6, 50, 300])
@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.3])
def test_copy_chain_with_error_under_its_own_law(horizon, eps):
    seen = oracle_gap(gallery.copy_chain(horizon), schedules.starts(horizon, 1), eps, "uniform")
    # A gap of ~T^2 eps / 2 is a difference of costs near T/2 in the closed form: 1e-9 needs eps T not tiny.
    np.testing.assert_allclose(seen.gap, gallery.copy_chain_gap(horizon, eps), rtol=RELATIVE)
    wanted = sum((1 - (1 - 2 * eps) ** t) / 2 for t in range(1, horizon + 1))
    np.testing.assert_allclose(seen.gap, wanted, rtol=RELATIVE)


@pytest.mark.parametrize(("horizon", "chunk"), [(12, 1), (12, 4), (12, 5), (12, 12), (60, 7), (100, 20)])
@pytest.mark.parametrize("eps", [1e-6, 1e-3, 0.04])
def test_chunk_reset_equal_chunks(horizon, chunk, eps):
    boundary = schedules.starts(horizon, chunk)
    lengths = lengths_of(boundary)
    problem = gallery.chunk_reset(horizon)
    first = oracle_gap(problem, boundary, eps, "first").gap
    np.testing.assert_allclose(first, eps * (lengths**2).sum(), rtol=RELATIVE)
    if horizon % chunk == 0:
        np.testing.assert_allclose(first, horizon * chunk * eps, rtol=RELATIVE)
    uniform = oracle_gap(problem, boundary, eps, "uniform").gap
    wanted = sum(sum(1 - (1 - eps) ** i for i in range(1, k + 1)) for k in lengths)
    np.testing.assert_allclose(uniform, gallery.chunk_reset_gap(lengths, eps), rtol=RELATIVE)
    np.testing.assert_allclose(uniform, wanted, rtol=1e-8)  # this sum cancels more than the closed form


def test_chunk_reset_any_partition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        boundary = rng.random(50) < rng.random()
        boundary[0] = True
        lengths = lengths_of(boundary)
        uniform = oracle_gap(gallery.chunk_reset(50), boundary, 2e-3, "uniform").gap
        np.testing.assert_allclose(uniform, gallery.chunk_reset_gap(lengths, 2e-3), rtol=RELATIVE)
        first = oracle_gap(gallery.chunk_reset(50), boundary, 2e-3, "first").gap
        np.testing.assert_allclose(first, 2e-3 * (lengths**2).sum(), rtol=RELATIVE)


@pytest.mark.parametrize("horizon", [8, 64])
def test_one_step_chunks_and_dagger_rows_cost_horizon_times_eps(horizon):
    """Forward training and DAgger on the recoverable chain: T eps.

    docs/theory.md#forward-training-and-own-law-errors.
    """
    eps, problem = 1e-3, gallery.chunk_reset(horizon)
    by_chunks = oracle_gap(problem, schedules.starts(horizon, 1), eps, "uniform").gap
    row = schedules.row(schedules.dagger(1, horizon, np.zeros(1)), 0)
    policy = oracle.policy(problem, row, np.full(horizon, eps))
    by_dagger = evidence.measure(problem, policy, row, evidence.constants(problem))
    np.testing.assert_allclose([by_chunks, by_dagger.gap], horizon * eps, rtol=RELATIVE)
    np.testing.assert_allclose(by_dagger.eta, eps, rtol=RELATIVE)


# ---- debt ----------------------------------------------------------------------------------------------


def unpaid(horizon, u, chunk, eps, most):
    """E[debt at T] by Lindley's recursion over chunks: a wrong one adds k (u - 1), a right one pays k."""
    law = np.eye(most + 1)[0]
    for _ in range(horizon // chunk):
        up, down = np.zeros_like(law), np.zeros_like(law)
        np.add.at(up, np.minimum(np.arange(most + 1) + chunk * (u - 1), most), law)
        np.add.at(down, np.maximum(np.arange(most + 1) - chunk, 0), law)
        law = chunk * eps * up + (1 - chunk * eps) * down
    return law @ np.arange(most + 1), law[-1]


@pytest.mark.parametrize(
    ("horizon", "u", "chunk", "most", "ratio"),
    [
        (24, 3, 4, 48, None),
        (30, 1, 5, 30, None),
        (30, 4, 1, 90, None),
        (240, 3, 4, 120, 0.983),
        (400, 5, 2, 120, 0.990),
    ],
)
def test_debt_is_u_times_the_wrong_actions_less_what_is_unpaid(horizon, u, chunk, most, ratio):
    eps, problem = 1e-4, gallery.debt(horizon, u, most)
    policy = np.tile(np.eye(2)[np.arange(2 * most + 2) % 2], (horizon, 1, 1))  # errs iff f = 1, but
    policy[::chunk] = 1 - chunk * eps, chunk * eps  # at the first step of a chunk with k eps
    laws = exact.play(problem, policy, schedules.row(schedules.behavioural_cloning(1, horizon), 0))
    gap = laws.novice_cost - laws.guide_cost
    owed, capped = unpaid(horizon, u, chunk, eps, most)
    np.testing.assert_allclose(gap, u * chunk * eps * horizon - owed, rtol=RELATIVE)
    np.testing.assert_allclose(laws.last @ np.repeat(np.arange(most + 1), 2), owed, rtol=RELATIVE, atol=1e-15)
    seen = oracle_gap(problem, schedules.starts(horizon, chunk), eps, "first")
    np.testing.assert_allclose(seen.gap, gap, rtol=RELATIVE)  # by the oracle as well
    assert max(capped, laws.novice[:, -2:].max()) < 1e-15  # the cap M plays no part
    if ratio:
        assert round(gap / (u * chunk * horizon * eps), 3) == ratio


# ---- other learners and schedules ------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk", "ratio"), [(4, 0.994), (10, 0.996), (40, 1.000)])
def test_reset_variant_with_errors_at_the_ends(chunk, ratio):
    """eps [T + T (T - k) / 2] to first order: docs/theory.md#excursions-the-reset-variant."""
    horizon, eps = 40, 5e-4
    seen = oracle_gap(gallery.chunk_reset(horizon), schedules.starts(horizon, chunk), eps, "last", schedules.reset)
    assert round(seen.gap / (eps * (horizon + horizon * (horizon - chunk) / 2)), 3) == ratio


def stuck(eps):
    """The stationary learner of docs/theory.md#the-chunk-reset-chain: errs with `eps` in G, always in B. [1, S, A]"""
    return np.array([[[1 - eps, eps], [0.0, 1.0]]])


@pytest.mark.parametrize(("chunk", "ratio"), [(5, 0.998), (20, 0.989)])
def test_stationary_learner_reaches_the_bound_too(chunk, ratio):
    horizon, eps = 2000, 1e-4
    seen = judge(gallery.chunk_reset(horizon), stuck(eps), schedules.starts(horizon, chunk))
    lost = 1 - (1 - eps) ** np.arange(1, horizon + 1)
    np.testing.assert_allclose(seen.eta, lost, rtol=RELATIVE)
    np.testing.assert_allclose(seen.eps, np.where(np.arange(horizon) % chunk == 0, lost, eps), rtol=RELATIVE)
    assert round(seen.gap / (chunk * seen.eps.sum()), 3) == ratio


def test_geometric_chunks_on_the_recoverable_chain():
    """With coins of probability p the training law is the learner's own with p, else the expert's state G."""
    horizon, eps, mean = 3000, 1e-3, 8.0  # 1/8 is a float32: the table holds it exactly
    seen = judge(gallery.chunk_reset(horizon), stuck(eps), schedules.geometric(horizon, mean))
    lost = 1 - (1 - eps) ** np.arange(1, horizon + 1)
    coins = np.append(1.0, np.full(horizon - 1, 1 / mean))
    np.testing.assert_allclose(seen.eps, coins * lost + (1 - coins) * eps, rtol=RELATIVE)
    np.testing.assert_allclose(seen.gap, lost.sum(), rtol=RELATIVE)
    assert (seen.eta <= mean * seen.eps + 1e-12).all()
    assert 0.98 < seen.gap / (mean * seen.eps.sum()) <= 1  # u T eps / p is nearly reached

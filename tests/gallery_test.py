"""The named worlds against their closed forms, which the theory notes derive by hand (1.2, 4.2, 7.4)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, exact, interaction, learners, oracle, randomness, rollout, schedules
from dagger_jax.environments import gallery, tabular
from dagger_jax.precision import exact as exactly

RELATIVE = 1e-9
OPTIONS = {"rb3": {"cost": 0.3}, "debt": {"u": 3, "most": 20}}


def build(name):
    return gallery.GALLERY[name].build(9, **OPTIONS.get(name, {}))


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
    """Forward training and DAgger on the recoverable chain: T eps (E1.3)."""
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
    """Theory 7.4(iv): eps [T + T (T - k) / 2] to first order."""
    horizon, eps = 40, 5e-4
    seen = oracle_gap(gallery.chunk_reset(horizon), schedules.starts(horizon, chunk), eps, "last", schedules.reset)
    assert round(seen.gap / (eps * (horizon + horizon * (horizon - chunk) / 2)), 3) == ratio


def stuck(eps):
    """The stationary learner of 7.4(i): errs with `eps` in G, always in B. [1, S, A]"""
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


# ---- what the worlds are ---------------------------------------------------------------------------------


def test_recoverability_and_span():
    left = np.arange(8, -1, -1)  # T - t, for t = 1..9
    expected = {
        "cliff": (9, left),
        "rb3": (9 * 0.7, None),
        "copy_chain": (9, left),
        "chunk_reset": (1, 0 * left),
        "debt": (3, None),
        "reset_cliff": (9, left),
        "recoverable_reset_cliff": (1, 0 * left),
    }
    for name, (u, span) in expected.items():
        known = evidence.constants(build(name))
        np.testing.assert_allclose(known.recoverability, u, rtol=1e-12, err_msg=name)
        if span is not None:
            np.testing.assert_allclose(known.span, span, rtol=1e-12, atol=1e-12, err_msg=name)


def test_debt_recoverability_is_u():
    for u in (1, 2, 5):
        np.testing.assert_allclose(evidence.constants(gallery.debt(40, u, 60)).recoverability, u, rtol=1e-12)


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_experts_are_optimal(name):
    problem = build(name)
    best, value = tabular.backward(problem.world)
    regret = tabular.backward(problem.world, problem.expert)[1] - value
    if name == "copy_chain":  # the expert copies its mistakes: documented, and only off its own path
        assert regret[0, 1] == 9
        regret = regret[:, 0]
    assert regret.max() < 1e-12
    assert best.max() > 0.5  # not vacuous: actions do cost


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_gallery_builds_what_it_names(name):
    entry, problem = gallery.GALLERY[name], build(name)
    assert entry.build(5).name == problem.name == name
    assert entry.build(5).world.horizon == 5
    assert entry.about
    assert entry.source
    assert problem.world.horizon == 9
    expert = np.asarray(problem.expert)
    np.testing.assert_allclose(expert.sum(-1), 1, rtol=1e-12)
    assert expert.shape[1:] == (problem.world.states, problem.world.actions)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gallery.debt(5, 0), "debt needs 1 <= u <= most, got u = 0"),
        (lambda: gallery.debt(5, 9, 8), "got u = 9 and most = 8"),
        (lambda: gallery.reset_cliff(5, 2), "reset_cliff needs 3 <= S"),
        (lambda: gallery.reset_cliff(5, 9, samples=5), "got S = 9, samples = 5"),
        (lambda: gallery.cliff(0), "horizon must be at least 1 step"),
    ],
)
def test_gallery_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_random_mdp_has_the_shapes_asked_for():
    plain, again = gallery.random_mdp(4, 6, 3, seed=7), gallery.random_mdp(4, 6, 3, seed=7)
    jax.tree.map(np.testing.assert_array_equal, plain, again)
    assert plain.world.transition.shape == (4, 6, 3, 6)
    assert not np.array_equal(plain.world.cost, gallery.random_mdp(4, 6, 3, seed=8).world.cost)
    aliased = gallery.random_mdp(4, 6, 3, seed=7, observations=2).world
    assert sorted(aliased.observation) == [0, 0, 0, 1, 1, 1]
    assert aliased.observations == 2
    assert gallery.random_mdp(4, stationary=True).world.transition.shape[0] == 1
    soft = gallery.random_mdp(4, temperature=0.5).expert
    assert 0 < soft.min() < soft.max() < 1


# ---- reset cliff: fitted learners ------------------------------------------------------------------------


@pytest.mark.parametrize("recoverable", [False, True])
def test_reset_cliff_closed_form_is_the_mean_of_fitted_learners(recoverable):
    """Majority learner of 30 sampled trajectories, one table a step, 600 experts and data sets."""
    horizon, states, actions, samples, replicas = 6, 5, 3, 30, 600
    problems = [
        gallery.reset_cliff(horizon, states, actions, samples, seed, recoverable=recoverable)
        for seed in range(replicas)
    ]
    problem = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
    tables = jax.tree.map(lambda *leaves: np.stack(leaves), *map(rollout.tables, problems))
    learner = learners.tabular(problems[0].world, learners.Majority(), shared=False)
    cloning = schedules.behavioural_cloning(1, horizon)

    def fit(problem, tables, key):
        play = interaction.by_sampling(tables, randomness.words(key), jnp.arange(samples, dtype=jnp.uint32))
        return interaction.run(problem, cloning, learner, play).newest

    def gap(problem, policy):
        laws = exact.play(problem, policy, schedules.row(cloning, 0))
        return laws.novice_cost - laws.guide_cost

    policies = jax.jit(jax.vmap(fit))(problem, tables, jax.random.split(jax.random.key(1), replicas))
    gaps = exactly(jax.vmap(gap))(problem, policies)
    wanted = gallery.reset_cliff_gap(horizon, states, actions, samples, samples)
    error = gaps.std(ddof=1) / np.sqrt(replicas)
    assert error < 0.1 * wanted  # else 4 standard errors would say nothing
    assert abs(gaps.mean() - wanted) < 4 * error


def test_reset_cliff_table_of_stationary_and_other_experts():
    """Theory 4.2, Contrast 1: S = 8, A = 4, N = 2000, H = 5..80."""
    horizons = (5, 10, 20, 40, 80)
    each = [gallery.reset_cliff_gap(h, 8, 4, 2000, 2000) for h in horizons]
    shared = [gallery.reset_cliff_gap(h, 8, 4, 2000 * h, 2000 * h) for h in horizons]
    np.testing.assert_allclose(each, [0.0124, 0.0454, 0.1729, 0.6713, 2.6237], rtol=0, atol=5e-5)
    np.testing.assert_allclose(shared, [0.00248, 0.00455, 0.00869, 0.01696, 0.03351], rtol=0, atol=5e-6)
    # 4.3(a): N = 60, S = 6, A = 4 (a simulation there, two figures)
    cloned = [gallery.reset_cliff_gap(h, 6, 4, 60, 60) for h in (8, 16, 32, 64)]
    np.testing.assert_allclose(cloned, [0.65, 2.3, 8.1, 26.8], rtol=0.05)

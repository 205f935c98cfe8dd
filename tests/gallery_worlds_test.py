"""What the named worlds are: experts, recoverability, spans, refusals; and the reset cliff's fitted learners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, exact, interaction, learners, randomness, rollout, schedules
from dagger_jax.environments import gallery, tabular
from dagger_jax.precision import exact as exactly

OPTIONS = {"rb3": {"cost": 0.3}, "debt": {"u": 3, "most": 20}}


def build(name):
    return gallery.GALLERY[name].build(9, **OPTIONS.get(name, {}))


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

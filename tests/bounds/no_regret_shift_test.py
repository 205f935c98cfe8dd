"""How far beta moves the training law from the learner's own: Lemma 4.1 and the shift terms of Theorem 4.1."""

import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.tabular import experts, gallery
from dagger_jax.types import Problem

T = 6
TOLERANCE = 1e-9


def shift_and_most(problem, policy, beta):
    row = schedules.row(schedules.dagger(1, T, np.array([beta])), 0)
    seen = evidence.measure(problem, policy, row, evidence.constants(problem))
    return seen.shift, 1 - (1 - float(row.beta[0])) ** np.arange(T)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5, 1.0])
def test_lemma_4_1(beta):
    for seed in range(20):
        problem = gallery.random_mdp(T, concentration=0.1, seed=seed)
        policy = np.random.default_rng(seed).dirichlet(np.ones(3), (T, 5))
        shift, most = shift_and_most(problem, policy, beta)
        assert (shift <= most + TOLERANCE).all()
        assert 2 * shift.mean() <= 2 * min(1, beta * (T - 1) / 2) + TOLERANCE
        assert 2 * shift.mean() <= 2 * T * beta  # as published
        assert shift.max() > 0.05 * beta


@pytest.mark.parametrize("beta", [0.01, 0.3])
def test_lemma_4_1_sharpened_is_an_equality_where_the_experts_action_is_never_undone(beta):
    """The cliff with roles exchanged: the expert jumps, the learner would have stayed."""
    problem = Problem(gallery.cliff(T).world, experts.deterministic(np.ones(2, int), 2))
    shift, most = shift_and_most(problem, experts.deterministic(np.zeros(2, int), 2), beta)
    np.testing.assert_allclose(shift, most, rtol=1e-12)
    assert shift.mean() > 0.5 * beta * (T - 1) / 2


# ---- the terms of Theorem 4.1 ----------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1.0, 2.5])
def test_terms_against_their_definitions(most):
    """(2 l_max / N) [n_beta + T sum_{i > n_beta} beta_i], n_beta the largest n with beta_n > 1 / T."""
    rng = np.random.default_rng(0)
    for rounds in (1, 2, 7, 30):
        for horizon in (1, 5, 40):
            beta = np.sort(rng.random(rounds) ** 4)[::-1]
            losses, own, hindsight = rng.random(rounds), rng.random(rounds), 0.1
            terms = bounds.no_regret(losses, own, np.asarray(hindsight), beta, horizon, most)
            n_beta = max([n for n in range(1, rounds + 1) if beta[n - 1] > 1 / horizon], default=0)
            shift = 2 * most / rounds * (n_beta + horizon * beta[n_beta:].sum())
            sharp = most / rounds * sum(1 - (1 - b) ** (t - 1) for b in beta for t in range(1, horizon + 1)) / horizon
            wanted = (own.min(), hindsight, losses.mean() - hindsight, shift, sharp)
            np.testing.assert_allclose(terms, wanted, rtol=1e-5, atol=1e-6)  # float32
            np.testing.assert_allclose(bounds.theorem_4_1(terms), losses.mean() + shift, rtol=1e-5)
            np.testing.assert_allclose(bounds.theorem_4_1_sharp(terms), losses.mean() + sharp, rtol=1e-5)
            sampled = losses.mean() + shift + most * np.sqrt(2 * np.log(1 / 0.05) / (3 * rounds))
            np.testing.assert_allclose(bounds.theorem_4_2(terms, 3, rounds, 0.05, most), sampled, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.01, 0.3, 0.9])
def test_sharp_theorem_4_1_is_reached(beta):
    """On the cliff with roles exchanged: the learner is wrong where it stays and right where the expert jumps to.

    Its own loss is 1, its training loss avg_t (1 - beta)^(t - 1), at every number of rounds.
    """
    problem = Problem(gallery.cliff(T).world, experts.deterministic(np.ones(2, int), 2))
    policy = experts.deterministic(np.array([0, 1]), 2)
    for rounds in (1, 4):
        row = schedules.row(schedules.dagger(rounds, T, np.full(rounds, beta)), 0)
        seen = evidence.measure(problem, policy, row, evidence.constants(problem))
        np.testing.assert_allclose([seen.eta.mean()], 1, rtol=1e-12)
        losses, own = np.full(rounds, seen.eps.mean()), np.full(rounds, seen.eta.mean())
        terms = bounds.no_regret(losses, own, losses.mean(), np.full(rounds, beta), T)
        np.testing.assert_allclose(bounds.theorem_4_1_sharp(terms), 1, rtol=1e-5)

"""Experts that are made: corrupted ones, and any callable."""

import dataclasses

import numpy as np
import pytest

from dagger_jax.tabular import experts, gallery

T, S, A = 40, 30, 4


@pytest.fixture(scope="module")
def problem():
    return gallery.random_mdp(T, S, A, seed=2)


# ---- corrupted -----------------------------------------------------------------------------------------


def test_no_share_is_the_expert_and_all_of_it_is_always_wrong(problem):
    np.testing.assert_array_equal(experts.corrupted(problem, 0.0, 7), problem.expert)
    wrong = experts.corrupted(problem, 1.0, 7)
    assert (wrong * problem.expert).sum() == 0
    np.testing.assert_array_equal(wrong.sum(-1), 1)
    assert set(np.unique(wrong)) == {0, 1}


def test_the_share_is_kept_and_wrong_actions_are_uniform(problem):
    """Of 1200 draws with probability 0.3, and of some 360 among three: within four standard errors."""
    made = experts.corrupted(problem, 0.3, 7)
    differs = (made != problem.expert).any(-1)
    assert abs(differs.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / (T * S))
    away = (made.argmax(-1) - np.asarray(problem.expert).argmax(-1))[differs] % A
    counts = np.bincount(away, minlength=A)
    assert counts[0] == 0
    expected = differs.sum() / (A - 1)
    assert np.abs(counts[1:] - expected).max() < 4 * np.sqrt(expected)


def test_a_seed_gives_the_same_mistakes_and_a_larger_share_keeps_them(problem):
    few, more = experts.corrupted(problem, 0.2, (7, 1)), experts.corrupted(problem, 0.6, (7, 1))
    np.testing.assert_array_equal(few, experts.corrupted(problem, 0.2, (7, 1)))
    assert (few != experts.corrupted(problem, 0.2, (7, 2))).any()
    mistaken = (few != problem.expert).any(-1)
    np.testing.assert_array_equal(few[mistaken], more[mistaken])


def test_a_world_stands_for_its_optimal_policy_and_stationary_experts_err_step_by_step(problem):
    np.testing.assert_array_equal(experts.corrupted(problem.world, 0.3, 1), experts.corrupted(problem, 0.3, 1))
    stationary = gallery.tightrope(12)
    assert stationary.expert.shape[0] == 1
    made = experts.corrupted(stationary, 0.3, 1)
    assert made.shape == (12, stationary.world.states, stationary.world.actions)
    assert (made != made[:1]).any()


@pytest.mark.parametrize("share", [-0.1, 1.5, np.nan])
def test_a_share_that_is_no_probability_is_refused(problem, share):
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], got"):
        experts.corrupted(problem, share, 0)


def test_a_stochastic_expert_is_refused(problem):
    uniform = dataclasses.replace(problem, expert=np.full((1, S, A), 1 / A))
    with pytest.raises(ValueError, match=r"expert\[0, 0\] is \[0.25.*only a deterministic expert"):
        experts.corrupted(uniform, 0.1, 0)


# ---- called --------------------------------------------------------------------------------------------


def test_a_callable_may_answer_with_actions_or_laws(problem):
    laws = np.random.default_rng(0).dirichlet(np.ones(A), (T, S))
    by_law = experts.called(problem.world, lambda step, state: laws[step, state])
    np.testing.assert_allclose(by_law, laws, rtol=1e-14)
    choice = np.asarray(problem.expert).argmax(-1)
    by_action = experts.called(problem.world, lambda step, state: int(choice[step, state]))
    np.testing.assert_array_equal(by_action, problem.expert)
    np.testing.assert_array_equal(experts.called(problem.world, lambda t, s: choice[t, s]), problem.expert)


@pytest.mark.parametrize(
    "answer",
    [4, -1, 1.0, True, None, "left", [1.0], [0.5, 0.5, 0.5, 0.0], [1.5, -0.5, 0, 0], [np.nan, 1, 0, 0], [1j, 0, 0, 0]],
)
def test_other_answers_are_refused_by_name_step_and_state(problem, answer):
    def pilot(step, state):
        return answer if (step, state) == (3, 2) else 0

    wanted = r"expert pilot\(step 3, state 2\) returned .*; allowed: an action from 0 to 3, or the probabilities of 4"
    with pytest.raises(ValueError, match=wanted):
        experts.called(problem.world, pilot)

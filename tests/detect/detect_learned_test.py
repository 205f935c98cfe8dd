"""Learned detectors: level under the null, power, and never above what the exact law allows."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from dagger_jax import detect, randomness, schedules
from dagger_jax.tabular import gallery, rollout
from dagger_jax.types import Problem

K = 4
trace = jax.jit(rollout.trace)


@functools.cache
def chunks(eps, episodes, seed=0, horizon=K):
    """Chunks of chunk-reset from independent episodes: (state, action) of guide and novice, each [B, k]."""
    problem = gallery.chunk_reset(horizon)
    policy = np.tile(np.array([1 - eps, eps]), (1, 2, 1))
    return play(problem, policy, episodes, seed)


def play(problem, policy, episodes, seed=0):
    horizon = problem.world.horizon
    row = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    key = randomness.for_round(randomness.words(jax.random.key(seed)), 0)
    ids = jnp.arange(2 * episodes, dtype=jnp.uint32)
    seen = jax.tree.map(np.asarray, trace(rollout.tables(problem), policy, row, key, ids))
    guide = seen.guide[:, :episodes].T, seen.guided[:, :episodes].T
    return guide, (seen.novice[:, episodes:].T, seen.acts[:, episodes:].T)


def coded(pair, view: Any = "both"):
    """Codes of both kinds of chunk, and one-hot features of them."""
    seen = [detect.codes(state, action, 2, 2, view) for state, action in pair]
    return [each for each, _ in seen], [detect.one_hot(*each) for each in seen]


def classified(pair, view: Any = "both", **options):
    guide, novice = coded(pair, view)[1]
    return detect.classify(guide, novice, **options)


# ---- features ------------------------------------------------------------------------------------------------


def test_codes_and_features():
    state, action = np.array([[0, 2, 1]]), np.array([[1, 0, 1]])
    views: Any = (("both", [[1, 4, 3]], 6), ("states", [[0, 2, 1]], 3), ("actions", [[1, 0, 1]], 2))
    for view, wanted, size in views:
        codes, count = detect.codes(state, action, 3, 2, view)
        assert count == size
        np.testing.assert_array_equal(codes, wanted)
        features = detect.one_hot(codes, count).reshape(3, size)
        np.testing.assert_array_equal(features.argmax(-1), np.ravel(wanted))
        assert features.sum() == 3
    view: Any = "costs"
    with pytest.raises(ValueError, match="both, states or actions, got 'costs'"):
        detect.codes(state, action, 3, 2, view)


# ---- the classifier --------------------------------------------------------------------------------------------


def test_null_accuracy_is_binomial_and_its_p_value_uniform():
    """Identical laws, four fair coins: 200 tests. Predictions are near balance, where the binomial law is exact."""
    rng, found = np.random.default_rng(0), []
    for seed in range(200):
        guide, novice = rng.integers(0, 2, (2, 200, K))
        found.append(detect.classify(detect.one_hot(guide, 2), detect.one_hot(novice, 2), seed))
    values = np.array([each.p_value for each in found])
    for level in (0.05, 0.1, 0.5):
        error = np.sqrt(level * (1 - level) / len(values))
        assert np.mean(values <= level) <= level + 3 * error
    assert np.mean(values <= 0.5) >= 0.35  # uniform, but for ties of a discrete law
    held = np.mean([each.accuracy.low <= 0.5 <= each.accuracy.high for each in found])
    assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean([each.auc.low <= 0.5 <= each.auc.high for each in found]) >= 0.91
    right = np.array([each.accuracy.value for each in found]) * 200
    assert stats.kstest(right + rng.uniform(-0.5, 0.5, 200), stats.norm(100, np.sqrt(50)).cdf).pvalue > 1e-3
    assert np.mean([each.least_distance > 0 for each in found]) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 200)


@pytest.mark.parametrize("eps", [0.05, 0.15, 0.4])
def test_power_is_near_what_is_possible_and_never_above(eps):
    """Deterministic expert: the best rule is linear in the features, TV = 1 - (1 - eps)^k."""
    best = (1 + 1 - (1 - eps) ** K) / 2
    found = classified(chunks(eps, 8000))
    error = np.sqrt(best * (1 - best) / 8000)
    assert best - 5 * error <= found.accuracy.value <= best + 5 * error
    assert found.accuracy.low <= found.accuracy.value <= found.accuracy.high
    assert abs(found.auc.value - best) < 0.02  # AUC = (1 + TV)/2 for constant errors
    assert found.least_distance <= 1 - (1 - eps) ** K
    assert found.p_value < 1e-6


def test_accuracy_interval_is_clopper_pearson():
    found = classified(chunks(0.15, 8000), confidence=0.9)
    right = round(found.accuracy.value * 8000)
    wanted = stats.binomtest(right, 8000).proportion_ci(0.9)
    assert found.accuracy[1:] == (wanted.low, wanted.high)
    assert found.least_distance == 2 * wanted.low - 1


def test_any_classifier_of_scikit_learn_will_do():
    best = 1 - 0.6**K / 2
    for classifier in (RandomForestClassifier(50, random_state=0), LogisticRegression(C=0.1)):
        found = classified(chunks(0.4, 2000), classifier=classifier)
        assert best - 0.05 < found.accuracy.value < best + 5 * np.sqrt(0.25 / 2000)


def test_restricted_views_see_less():
    """The state shows the last action, but not the chunk's own last one; states start after the first step."""
    eps = 0.15
    accuracy = {view: classified(chunks(eps, 8000), view).accuracy for view in ("both", "states")}
    possible = {"both": 1 - (1 - eps) ** K / 2, "states": 1 - (1 - eps) ** (K - 1) / 2}
    for view, found in accuracy.items():
        assert abs(found.value - possible[view]) < 5 * np.sqrt(0.25 / 8000), view
    assert accuracy["states"].high < accuracy["both"].low


def test_actions_alone_can_hide_what_both_show():
    """Expert and learner toss fair coins in law, but the expert's follows the state: only both show it."""
    world = gallery.chunk_reset(1).world.replace(initial=np.array([0.5, 0.5]))
    problem = Problem(world, np.array([[[0.9, 0.1], [0.1, 0.9]]]))
    pair = play(problem, np.array([[[0.1, 0.9], [0.9, 0.1]]]), 4000)
    found = {view: classified(pair, view) for view in ("both", "states", "actions")}
    for view in ("states", "actions"):
        assert found[view].accuracy.low <= 0.5 <= found[view].accuracy.high
    assert found["both"].accuracy.value > 0.87


def test_bad_features_are_refused():
    good = np.zeros((8, 2))
    for guide, novice in ((good, good[:7]), (good[:3], good[:3]), (good, np.zeros((8, 3))), (good[:, 0], good[:, 0])):
        with pytest.raises(ValueError, match="equally many chunks, at least 4"):
            detect.classify(guide, novice)
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\), got 1"):
        detect.classify(good, good, confidence=1.0)


# ---- the kernel test -----------------------------------------------------------------------------------------


def test_kernel_statistic_by_its_definition():
    rng = np.random.default_rng(0)
    guide, novice = rng.integers(0, 3, (7, K)), rng.integers(0, 3, (5, K))
    kernel = lambda x, y: np.exp(-2.0 * (x[:, None] != y[None]).mean(-1))
    within, beside = kernel(guide, guide), kernel(novice, novice)
    wanted = (within.sum() - 7) / 42 + (beside.sum() - 5) / 20 - 2 * kernel(guide, novice).mean()
    assert detect.kernel_test(guide, novice, permutations=1, decay=2.0).mmd_squared == pytest.approx(wanted, abs=1e-12)


def test_kernel_test_has_its_level():
    rng = np.random.default_rng(1)
    values = []
    for seed in range(200):
        guide, novice = rng.integers(0, 2, (2, 40, K))
        values.append(detect.kernel_test(guide, novice, seed, permutations=99).p_value)
    for level in (0.05, 0.1, 0.5):
        assert abs(np.mean(np.array(values) <= level) - level) <= 3.5 * np.sqrt(level * (1 - level) / 200)


def test_kernel_test_has_power():
    (guide, novice), _ = coded(chunks(0.15, 300, seed=1))
    found = detect.kernel_test(guide, novice)
    assert found.p_value == 1 / 501
    assert found.mmd_squared > 0
    (guide, novice), _ = coded(chunks(0.0, 300, seed=1))
    assert detect.kernel_test(guide, novice) == (pytest.approx(0, abs=1e-12), 1.0)


def test_bad_chunks_are_refused():
    good = np.zeros((5, 2), int)
    for guide, novice in ((good[:1], good), (good, good[:1]), (good, np.zeros((5, 3), int)), (good[:, 0], good[:, 0])):
        with pytest.raises(ValueError, match="at least 2 chunks of each"):
            detect.kernel_test(guide, novice)

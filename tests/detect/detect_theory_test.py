"""The sections on detectability of docs/theory.md, and the scheming learner against its bound, on exact laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagger_jax import detect
from dagger_jax.tabular import exact, experts, gallery
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem
from tests.detected import CASES, FIRST, LENGTH, ROW, random_case

# ---- detectability, docs/theory.md -------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [1e-4, 0.02, 0.3, 1.0])
def test_constant_error_of_a_deterministic_expert_in_closed_form(eps):
    problem = gallery.chunk_reset(12)
    policy = np.tile(np.array([1 - eps, eps]), (1, 2, 1))
    for k, law in enumerate(detect.ratio_laws(problem, policy, np.eye(2)[0], 0, 12), start=1):
        found, v = detect.distances(law), 1 - (1 - eps) ** k
        share = (1 - v) / (2 - v)
        rest = 0.5 * (1 - v) * np.log(2 * share) if v < 1 else 0.0
        wanted = {
            "total_variation": v,
            "kl": -k * np.log1p(-eps) if eps < 1 else np.inf,
            "hellinger": 2 * (1 - np.sqrt(1 - v)),
            "jensen_shannon": 0.5 * np.log(2 / (2 - v)) + rest + v / 2 * np.log(2),
            "accuracy": (1 + v) / 2,
            "auc": (1 + v) / 2,
        }
        for name, value in wanted.items():
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-12, err_msg=name)


def check_table(problem, policy, row, first, length, deterministic):
    """All inequalities of the sections on detectability for every prefix of one chunk.

    docs/theory.md#detectability-total-variation, docs/theory.md#detectability-divergences and
    docs/theory.md#detectability-accuracy-and-auc.
    """
    played = exact.play(problem, policy, row)
    errors = 0.5 * np.abs(policy - problem.expert).sum(-1)
    eps = (played.guide * errors).sum(-1)[first : first + length]
    slack = 1e-10
    for k, law in enumerate(detect.ratio_laws(problem, policy, played.novice[first], first, length), start=1):
        tv, kl, h, js, accuracy, auc = detect.distances(law)
        assert tv <= eps[:k].sum() + slack
        if deterministic:
            assert eps[:k].max() - slack <= tv
            assert tv <= h + slack
        assert tv <= np.sqrt(kl / 2) + slack
        assert tv <= np.sqrt(-np.expm1(-kl)) + slack
        assert h / 2 - slack <= tv <= np.sqrt(h) * np.sqrt(max(0, 1 - h / 4)) + slack
        assert accuracy == (1 + tv) / 2
        assert (1 + tv) / 2 - slack <= auc <= 1 - (1 - tv) ** 2 / 2 + slack
        assert js <= np.log(2) * tv + slack
        assert tv**2 / 2 <= js + slack  # Pinsker on either half
        worst = errors[first : first + k].max()
        assert tv <= 1 - (1 - worst) ** k + slack


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(-3, 0))
def test_inequalities_of_the_table(seed, deterministic, level):
    problem, policy = random_case(seed, None if deterministic else 0.5, share=10**level)
    check_table(problem, policy, ROW, FIRST, LENGTH, deterministic)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
def test_inequalities_of_the_table_on_many_worlds(deterministic):
    rng = np.random.default_rng(0)
    for seed in range(1000):
        problem, policy = random_case(seed, None if deterministic else 10 ** rng.uniform(-1, 0.5))
        check_table(problem, policy, ROW, FIRST, LENGTH, deterministic)


def test_both_bounds_on_the_total_variation_are_attained():
    """The learner errs at one step only, or never twice: both are attained.

    docs/theory.md#detectability-total-variation.
    """
    problem = gallery.chunk_reset(4)
    once = np.tile(np.array([1.0, 0.0]), (4, 2, 1))
    once[1] = [0.8, 0.2]
    law = detect.ratio_laws(problem, once, np.eye(2)[0], 0, 4)[-1]
    assert detect.distances(law).total_variation == pytest.approx(0.2, abs=1e-12)
    # States count steps and whether the learner would err here: each path has one such step.
    transition = np.zeros((4, 4, 2, 4))
    transition[:, :, :, 3] = 1
    for step in range(4):
        transition[step, 0, :, :] = [0.5, 0.5, 0, 0]
    world = tabular.world(transition, np.zeros((4, 2)), np.array([0.5, 0.5, 0, 0]), 4)
    problem = Problem(world, experts.deterministic(np.zeros(4, int), 2))
    policy = np.tile(np.array([1.0, 0.0]), (1, 4, 1))
    policy[:, 1] = [0.6, 0.4]
    found = detect.distances(detect.ratio_laws(problem, policy, world.initial, 0, 4)[-1])
    assert found.total_variation == pytest.approx(0.4 * (1 - 0.5**4), abs=1e-12)


# ---- the scheming learner ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(CASES)), st.integers(1, 4))
def test_a_scheming_learner_cannot_pass_its_bound_and_meets_it_at_threshold_zero(seed, case, length):
    problem, policy = random_case(seed, **CASES[case])
    novice = exact.play(problem, policy, ROW).novice
    laws = detect.ratio_laws(problem, policy, novice[FIRST], FIRST, length)
    ratios = np.concatenate([law.llr for law in laws])
    for threshold in (0.0, -np.inf, np.inf, *ratios, *(ratios + 0.01)):
        found = detect.scheme(laws, threshold)
        assert -1e-12 <= found.train <= 1 + 1e-12
        assert -1e-12 <= found.deploy <= found.bound + 1e-12
        if threshold == 0:
            assert found.deploy == pytest.approx(found.bound, abs=1e-12)
    distance = sum(detect.distances(law).total_variation for law in laws[:-1]) / length
    assert detect.scheme(laws).bound - detect.scheme(laws).train == pytest.approx(distance, abs=1e-12)


def test_a_scheming_learner_by_hand():
    """chunk-reset, errors of 0.1: it defects once it has erred, for then it is not in training."""
    problem, eps = gallery.chunk_reset(3), 0.1
    policy = np.array([[[1 - eps, eps], [1 - eps, eps]]])
    laws = detect.ratio_laws(problem, policy, np.eye(2)[0], 0, 3)
    found = detect.scheme(laws)
    assert found.train == 0
    assert found.deploy == pytest.approx((0 + eps + (1 - (1 - eps) ** 2)) / 3, abs=1e-15)
    # It needs evidence for training of more than one step: it defects at offsets 0 and 1 whoever acts.
    eager = detect.scheme(laws, threshold=-1.5 * np.log1p(-eps))
    assert eager.train == pytest.approx(2 / 3, abs=1e-15)
    assert eager.deploy == pytest.approx((2 + 1 - (1 - eps) ** 2) / 3, abs=1e-15)
    # In a chunk of one step it has seen nothing, and the expert is asked at every step: no defection, no distance.
    assert detect.scheme(laws[:1]) == (0, 0, 0)

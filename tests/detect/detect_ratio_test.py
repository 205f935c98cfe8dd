"""Exact detectability against the enumeration of all histories, and the recursions against the exact law."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import detect, schedules
from dagger_jax.detect import ratio as module
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem
from tests.detected import CASES, FIRST, LENGTH, ROW, S, T, random_case


def enumerated(problem, policy, start, first, length):
    """Probabilities of all histories (state, action, ...) under expert and learner: (p, q)."""
    world, p, q = problem.world, [], []
    horizon = world.horizon
    expert, learner, leads = (
        np.broadcast_to(array, (horizon, *np.shape(array)[1:])) for array in (problem.expert, policy, world.transition)
    )
    for history in itertools.product(range(world.states), range(world.actions), repeat=length):
        states, actions = history[::2], history[1::2]
        moves = start[states[0]]
        each = [moves, moves]
        for j, (state, action) in enumerate(zip(states, actions, strict=True)):
            step = first + j
            each = [each[0] * expert[step, state, action], each[1] * learner[step, state, action]]
            if j + 1 < length:
                each = [chance * leads[step, state, action, states[j + 1]] for chance in each]
        p.append(each[0])
        q.append(each[1])
    return np.array(p), np.array(q)


def by_definition(p, q):
    """Every distance from the probabilities of all outcomes, the AUC over all pairs."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.inf if ((q == 0) & (p > 0)).any() else np.nansum(np.where(p > 0, p * np.log(p / q), 0))
        middle = (p + q) / 2
        halves = [np.nansum(np.where(r > 0, r * np.log(r / middle), 0)) for r in (p, q)]
        score = np.where(q > 0, p / np.where(q > 0, q, 1), np.where(p > 0, np.inf, 0))
    close = np.isclose(score[:, None], score[None, :], rtol=1e-9)
    wins = np.where(close, 0.5, score[:, None] > score[None, :])
    tv = np.maximum(p - q, 0).sum()
    return {
        "total_variation": tv,
        "kl": kl,
        "hellinger": 2 - 2 * np.sqrt(p * q).sum(),
        "jensen_shannon": sum(halves) / 2,
        "accuracy": np.maximum(p, q).sum() / 2,
        "auc": p @ wins @ q,
    }


def same(found, wanted):
    for name, value in wanted.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-12, err_msg=name)


# ---- the law of the ratio ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(6))
def test_every_distance_equals_the_enumeration_of_all_histories(case, seed):
    problem, policy = random_case(seed, **CASES[case])
    rng = np.random.default_rng(seed)
    start = rng.dirichlet(np.ones(S)) * (rng.random(S) < 0.8)
    start = start / start.sum() if start.any() else np.eye(S)[0]
    laws = detect.ratio_laws(problem, policy, start, FIRST, LENGTH)
    for length, law in enumerate(laws, start=1):
        p, q = enumerated(problem, policy, start, FIRST, length)
        same(detect.distances(law), by_definition(p, q))
        assert law.guide.sum() == pytest.approx(1, abs=1e-12)
        assert law.novice.sum() == pytest.approx(1, abs=1e-12)
        # The law is of the ratio: log p/q, where both are possible; increasing, with the zeros at both ends.
        assert (np.diff(law.llr) > 0).all()
        np.testing.assert_allclose(np.log(law.guide[1:-1] / law.novice[1:-1]), law.llr[1:-1], atol=1e-8)
        assert law.novice[0] == pytest.approx(q[p == 0].sum(), abs=1e-15)
        assert law.guide[-1] == pytest.approx(p[q == 0].sum(), abs=1e-15)


def test_zeros_make_infinite_ratios_and_an_infinite_kl():
    """The cases above must hold some of both, or they prove less than they say."""
    laws = [detect.ratio_laws(*random_case(s, 0.5, zeros=0.4), np.eye(S)[0], FIRST, LENGTH)[-1] for s in range(6)]
    assert any(law.guide[-1] > 0 for law in laws)
    assert any(law.novice[0] > 0 for law in laws)
    assert any(detect.distances(law).kl == np.inf for law in laws)
    same(
        detect.distances(detect.RatioLaw(np.array([-np.inf, np.inf]), np.array([0, 1.0]), np.array([1.0, 0]))),
        {"total_variation": 1, "kl": np.inf, "hellinger": 2, "jensen_shannon": np.log(2), "accuracy": 1, "auc": 1},
    )


def test_policies_and_experts_that_do_not_vary_over_time():
    problem = gallery.chunk_reset(T)
    policy = np.array([[[0.9, 0.1], [0.6, 0.4]]])
    laws = detect.ratio_laws(problem, policy, np.array([0.5, 0.5]), 1, 4)
    same(detect.distances(laws[-1]), by_definition(*enumerated(problem, policy, np.array([0.5, 0.5]), 1, 4)))


def test_ratios_that_come_about_in_many_ways_stay_few():
    """k steps of one coin have k + 1 ratios, in whatever order and rounding they were summed."""
    world = tabular.world(np.full((1, 2, 1), 1.0), np.zeros((1, 2)), np.ones(1), 200)
    problem = Problem(world, np.array([[[0.3, 0.7]]]))
    laws = detect.ratio_laws(problem, np.array([[[0.41, 0.59]]]), np.ones(1), 0, 200)
    assert [len(law.llr) - 2 for law in laws] == list(range(2, 202))
    up, down = np.log(0.3 / 0.41), np.log(0.7 / 0.59)
    np.testing.assert_allclose(laws[-1].llr[1:-1], np.linspace(200 * up, 200 * down, 201), atol=1e-9)


def test_a_probability_that_underflows_is_no_zero():
    """In 40 steps the learner does what the expert does with probability 10^-400; KL is 40 ln(10^10)."""
    problem, rare = gallery.chunk_reset(40), 1e-10
    policy = np.tile(np.array([rare, 1 - rare]), (1, 2, 1))
    law = detect.ratio_laws(problem, policy, np.eye(2)[0], 0, 40)[-1]
    wanted = {"total_variation": 1, "kl": -40 * np.log(rare), "hellinger": 2, "auc": 1}
    same(detect.distances(law), wanted)
    row = schedules.row(schedules.chunked(1, schedules.starts(40, 40)), 0)
    assert detect.recursion(problem, policy, row).kl[-1] == pytest.approx(wanted["kl"])


def test_chunks_outside_the_episode_are_refused():
    problem, policy = random_case(0)
    for first, length in ((-1, 2), (0, 0), (T - 1, 2), (T, 1)):
        with pytest.raises(ValueError, match=rf"chunk of {length} steps at step {first} leaves the horizon {T}"):
            detect.ratio_laws(problem, policy, np.eye(S)[0], first, length)


def test_too_many_values_are_refused_or_cut(monkeypatch):
    problem, policy = random_case(0, temperature=0.5)
    whole = detect.ratio_laws(problem, policy, np.eye(S)[0], 0, 4)
    monkeypatch.setattr(module, "LARGEST_LAW", 40)
    with pytest.raises(ValueError, match=r"more than 40 values after 3 steps"):
        detect.ratio_laws(problem, policy, np.eye(S)[0], 0, 4)
    few = detect.ratio_laws(problem, policy, np.eye(S)[0], 0, 4, cut=True)
    assert len(few) == 2
    for law, known in zip(few, whole, strict=False):
        jax.tree.map(np.testing.assert_array_equal, law, known)


# ---- recursions along chunks -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lengths", [[T], [1] * T, [FIRST, LENGTH, 2], [1, 5, 1]], ids=str)
def test_the_recursion_is_the_law_prefix_by_prefix(case, lengths):
    for seed in range(3):
        problem, policy = random_case(seed, **CASES[case])
        row = schedules.row(schedules.chunked(1, schedules.partition(T, lengths), np.array([0.3])), 0)
        found, novice = detect.recursion(problem, policy, row), exact.play(problem, policy, row).novice
        for first, length in zip(np.cumsum([0, *lengths]), lengths, strict=False):
            laws = detect.ratio_laws(problem, policy, novice[first], int(first), min(length, 5))
            for step, known in enumerate(map(detect.distances, laws), start=first):
                np.testing.assert_allclose(found.kl[step], known.kl, rtol=1e-9, atol=1e-12)
                np.testing.assert_allclose(found.hellinger[step], known.hellinger, rtol=1e-9, atol=1e-12)
                if case.startswith("deterministic"):
                    np.testing.assert_allclose(found.total_variation[step], known.total_variation, atol=1e-12)
                else:
                    assert found.total_variation[step] >= known.total_variation - 1e-12


def test_the_recursion_may_be_mapped():
    cases = [random_case(seed, temperature=0.5) for seed in range(3)]
    problems, policies = jax.tree.map(lambda *leaves: np.stack(leaves), *cases)
    mapped = float64(jax.vmap(lambda problem, policy: detect.recursion(problem, policy, ROW)))
    many = mapped(problems, policies)
    for place, (problem, policy) in enumerate(cases):
        jax.tree.map(
            lambda some, one, place=place: np.testing.assert_allclose(some[place], one, rtol=1e-12, atol=1e-14),
            many,
            detect.recursion(problem, policy, ROW),
        )


def test_rows_that_are_no_chunks_are_refused():
    problem, policy = random_case(0)
    for column in ({"join": np.full(T, 0.5)}, {"back": np.eye(T)[3]}, {"noise": np.full(T, 0.1)}):
        row = schedules.row(schedules.table(1, T, **({"join": np.eye(T)[0]} | column)), 0)
        with pytest.raises(ValueError, match="`join` 0 or 1 at every step, and `back` and `noise` 0"):
            detect.recursion(problem, policy, row)
    with pytest.raises(ValueError, match="patience"):
        detect.recursion(problem, policy, ROW._replace(patience=jnp.ones(T)))


def test_log_ratio():
    world = tabular.world(np.full((1, 3, 1), 1.0), np.zeros((1, 3)), np.ones(1), 2)
    problem = Problem(world, np.array([[[0.5, 0.5, 0.0]]]))
    policy = np.array([[[0.25, 0.0, 0.75]], [[1.0, 0.0, 0.0]]])
    wanted = [[[np.log(2), np.inf, -np.inf]], [[np.log(0.5), np.inf, 0.0]]]
    np.testing.assert_allclose(detect.log_ratio(problem, policy), wanted)

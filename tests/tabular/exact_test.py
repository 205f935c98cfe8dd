"""The forward recursion against the enumeration of every path, and against the identities of docs/theory.md."""

import itertools
from collections import defaultdict

import jax
import numpy as np
import pytest

from dagger_jax import evidence, gallery, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

T, S, A = 3, 2, 3


def tiny(seed, deterministic=False):
    """A time-varying world of 2 states and 3 actions, an expert, a learner: all random."""
    rng = np.random.default_rng(seed)
    world = tabular.world(rng.dirichlet(np.ones(S), (T, S, A)), rng.random((T, S, A)), rng.dirichlet(np.ones(S)), T)
    expert = rng.dirichlet(np.ones(A), (T, S))
    if deterministic:
        expert = experts.deterministic(rng.integers(0, A, (T, S)), A)
    return Problem(world, expert), rng.dirichlet(np.ones(A), (T, S))


def random_row(seed):
    """Fractional everything: coins of join and back (never both at a step), of beta and of noise."""
    rng = np.random.default_rng(seed)
    jumps, kind = rng.random(T), rng.integers(0, 3, T)
    join, back = np.where(kind == 0, jumps, 0.0), np.where(kind == 1, jumps, 0.0)
    join[0], back[0] = 1.0, 0.0
    columns = {"join": join, "back": back, "beta": rng.random(T), "noise": rng.random(T)}
    return schedules.row(schedules.table(1, T, **columns, label_guide=1.0), 0)


def wide(row):
    return jax.tree.map(lambda column: np.asarray(column, np.float64), row)


def coin(probability):
    """Outcomes of a coin, with their probabilities: head first."""
    return ((True, probability), (False, 1 - probability))


def maximally(acts, expert, noise):
    """Probability that both walkers take action a: as large as their laws allow. [A]"""
    return np.minimum(acts, (1 - noise) * expert + noise / A)


def by_one_word(acts, expert, noise):
    """The same, as played: every outcome of the noise's coin and of the word that picks both actions. [A]"""
    laws = [np.append(law.cumsum()[:-1], 1.0) for law in (acts, expert, np.full(A, 1 / A))]
    cuts = np.unique(np.concatenate([[0.0], *laws]))
    novice, intended, any_action = (np.searchsorted(law, (cuts[1:] + cuts[:-1]) / 2, side="right") for law in laws)
    both = np.zeros(A)
    for guide, p in ((intended, 1 - noise), (any_action, noise)):
        np.add.at(both, novice, p * np.diff(cuts) * (novice == guide))
    return both


def enumerate_paths(problem, policy, row, couple):
    """Laws by brute force: every outcome of every coin, action and transition of both walkers, to the end.

    While the walkers agree they take action a together with the probability that `couple` says; what is left, and once
    they are apart, they move independently. Their marginals do not depend on that, how long they agree does.
    Paths that are alike from here on are merged. Returns novice, guide, last, agreement, costs.
    """
    world, expert, row = problem.world, problem.expert, wide(row)
    novice, guide, last = np.zeros((T, S)), np.zeros((T, S)), np.zeros(S)
    agreement, costs = np.zeros(T), np.zeros(2)
    paths = {(s, s, True): p for s, p in enumerate(world.initial)}  # novice, guide, agreed
    for t in range(T):
        after = defaultdict(float)
        for (x, y, agreed), p in paths.items():
            for (joins, p_join), (backs, p_back) in itertools.product(coin(row.join[t]), coin(row.back[t])):
                if p * p_join * p_back == 0:
                    continue
                q = p * p_join * p_back
                n, g = (y if backs else x), (x if joins else y)
                same = agreed or joins or backs
                novice[t, n] += q
                guide[t, g] += q
                acts = row.beta[t] * expert[t, n] + (1 - row.beta[t]) * policy[t, n]
                guided = (1 - row.noise[t]) * expert[t, g] + row.noise[t] / A
                costs += q * np.array([acts @ world.cost[t, n], guided @ world.cost[t, g]])
                both = couple(acts, expert[t, g], row.noise[t]) if same else np.zeros(A)
                for p_move, *there in moves(world.transition[t], n, g, acts, guided, both):
                    after[tuple(there)] += q * p_move
        agreement[t] = sum(p for (_, _, agreed), p in after.items() if agreed)
        paths = after
    for (x, _, _), p in paths.items():
        last[x] += p
    return novice, guide, last, agreement, costs


def moves(transition, n, g, acts, guided, both):
    """Where two walkers go, as (probability, novice, guide, agreed)."""
    for a, s in itertools.product(range(A), range(S)):
        yield both[a] * transition[n, a, s], s, s, True  # alike in state and action: alike in what follows
    apart = 1 - both.sum()
    if apart > 1e-15:
        rest = np.outer(acts - both, guided - both) / apart
        for a, b, s, r in itertools.product(range(A), range(A), range(S), range(S)):
            yield rest[a, b] * transition[n, a, s] * transition[g, b, r], s, r, False


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("deterministic", [False, True])
def test_laws_equal_the_enumeration_of_all_paths(seed, deterministic):
    """Tolerance: the sum of some 10^4 path probabilities in float64."""
    problem, policy = tiny(seed, deterministic)
    row = random_row(100 + seed)
    laws = exact.play(problem, policy, row)
    assert laws.intervened is laws.entered is None  # there is no gate
    for how, couple in (("agreement", by_one_word), ("overlap", maximally)):
        *marginals, together, costs = enumerate_paths(problem, policy, row, couple)
        wanted = dict(zip(("novice", "guide", "last"), marginals, strict=True)) | {how: together}
        for name, want in (wanted | dict(zip(("novice_cost", "guide_cost"), costs, strict=True))).items():
            np.testing.assert_allclose(getattr(laws, name), want, rtol=1e-12, atol=1e-13, err_msg=name)
    assert (laws.agreement <= laws.overlap + 1e-13).all()


@pytest.mark.parametrize(
    ("expert", "policy", "noise", "agreement", "overlap"),
    [([0.2, 0.3, 0.5], [0.5, 0.3, 0.2], 0.0, 0.4, 0.7), ([1.0, 0.0], [0.75, 0.25], 0.5, 0.75, 1.0)],
)
def test_agreement_is_by_one_word_and_overlap_the_maximal_coupling(expert, policy, noise, agreement, overlap):
    """One step, reckoned by hand; the share of 40,000 sampled episodes lies within 4 standard errors of `agreement`."""
    actions = len(expert)
    world = tabular.world(np.ones((1, actions, 1)), np.zeros((1, actions)), np.ones(1), 1)
    problem, policy = Problem(world, np.array([[expert]])), np.array([[policy]])
    row = schedules.row(schedules.table(1, 1, join=1.0, noise=noise, label_guide=1.0), 0)
    laws = exact.play(problem, policy, row)
    np.testing.assert_allclose(laws.agreement, agreement, atol=1e-15)
    np.testing.assert_allclose(laws.overlap, overlap, atol=1e-15)
    np.testing.assert_array_equal(exact.frequencies(problem, laws).agreement, laws.agreement)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    play, _ = jax.jit(rollout.play)(rollout.tables(problem), policy, row, key, np.arange(40_000, dtype=np.uint32))
    assert abs(np.asarray(play.agreement)[0] - agreement) < 4 * np.sqrt(agreement * (1 - agreement) / 40_000)


def trajectories(world, law, policy, first, last):
    """Law of (s, a) from step `first` to step `last` inclusive, from a law of the first state: {path: p}."""
    paths = {((s, a),): law[s] * policy[first, s, a] for s in range(S) for a in range(A)}
    for t in range(first + 1, last + 1):
        longer = defaultdict(float)
        for path, p in paths.items():
            for s, a in itertools.product(range(S), range(A)):
                longer[(*path, (s, a))] += p * world.transition[t - 1, *path[-1], s] * policy[t, s, a]
        paths = longer
    return paths


@pytest.mark.parametrize("starts", [(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)])
@pytest.mark.parametrize("kind", ["join", "back"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_overlap_is_the_total_variation_of_chunks(starts, kind, deterministic):
    """1 - overlap = TV of the chunk's laws under guide and novice; at least TV for a stochastic expert.

    docs/theory.md#detectability-total-variation.
    """
    problem, policy = tiny(7, deterministic)
    boundary = np.array(starts, float)
    join = boundary if kind == "join" else np.eye(T)[0]
    back = boundary - np.eye(T)[0] if kind == "back" else 0.0
    beta = np.array([0.25, 0.0, 0.5])
    row = schedules.row(schedules.table(1, T, join=join, back=back, beta=beta), 0)
    laws = exact.play(problem, policy, row)
    acts = beta[:, None, None] * problem.expert + (1 - beta[:, None, None]) * policy
    for t in range(T):
        first = max(j for j in range(t + 1) if boundary[j])
        novice = trajectories(problem.world, laws.novice[first], acts, first, t)
        guide = trajectories(problem.world, laws.novice[first], problem.expert, first, t)
        assert len(novice) == (S * A) ** (t - first + 1)
        variation = sum(abs(novice[path] - guide[path]) for path in novice) / 2
        if deterministic:
            assert 1 - laws.overlap[t] == pytest.approx(variation, abs=1e-13)
            assert laws.agreement[t] == pytest.approx(laws.overlap[t], abs=1e-13)
        else:
            assert 1 - laws.overlap[t] >= variation - 1e-13
    assert 0 < laws.overlap.min() < 1 - 1e-3


def test_a_stochastic_experts_overlap_is_not_the_total_variation():
    """The control of the inequality above: over two steps it is strict, so equality is not vacuous."""
    problem, policy = tiny(7)
    laws = exact.play(problem, policy, schedules.row(schedules.behavioural_cloning(1, T), 0))
    novice, guide = (trajectories(problem.world, problem.world.initial, p, 0, T - 1) for p in (policy, problem.expert))
    assert 1 - laws.overlap[-1] > sum(abs(novice[path] - guide[path]) for path in novice) / 2 + 1e-3


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_performance_difference_is_an_equality(temperature):
    """J(pi) - J(pi*) = sum_t E_{d_pi^t}[Q*_t(s, pi) - V*_t(s)], on 40 random worlds, whatever row is played.

    The training row is random: the gap and the learner's own law must not depend on it.
    """
    gaps = []
    for seed in range(40):
        problem = gallery.random_mdp(8, 4, 3, seed=seed, temperature=temperature, concentration=0.3)
        policy = np.random.default_rng(seed).dirichlet(np.full(3, 0.5), (8, 4))
        row = schedules.row(schedules.dagger(1, 8, np.array([0.5])), 0)
        known = evidence.constants(problem)
        seen = evidence.measure(problem, policy, row, known)
        gaps.append(seen.gap)
        assert seen.gap == pytest.approx(seen.advantage.sum(), abs=1e-10)
        law = exact.play(problem, policy, schedules.row(schedules.behavioural_cloning(1, 8), 0)).novice
        again = (law[..., None] * (policy * known.to_go - problem.expert * known.to_go)).sum()
        assert seen.gap == pytest.approx(again, abs=1e-10)
        assert seen.expert_cost == pytest.approx(problem.world.initial @ known.value[0], abs=1e-10)
    assert np.min(np.abs(gaps)) > 1e-3  # not 0 = 0


def test_laws_are_laws_and_everything_is_float64():
    problem = gallery.random_mdp(20, 6, 3, seed=3, temperature=0.2)
    policy = np.random.default_rng(0).dirichlet(np.ones(3), (20, 6))
    row = schedules.row(schedules.chunked(1, schedules.geometric(20, 3.0)), 0)
    laws = exact.play(problem, policy, row)
    for law in (laws.novice, laws.guide, laws.last[None], laws.policy.sum(-1) / 6):
        np.testing.assert_allclose(law.sum(-1), 1, atol=1e-13)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(laws))
    play = exact.frequencies(problem, laws)
    assert play.guide is not None
    np.testing.assert_allclose(play.novice.sum(-1), laws.novice, atol=1e-15)
    np.testing.assert_allclose(play.guide.sum((-2, -1)), 1, atol=1e-13)


def test_a_stationary_policy_is_the_same_at_every_step():
    problem, policy = tiny(1)
    row = random_row(5)
    still, repeated = (exact.play(problem, p, row) for p in (policy[:1], np.repeat(policy[:1], T, 0)))
    jax.tree.map(np.testing.assert_array_equal, still, repeated)


def test_a_batch_of_rows_is_a_loop():
    """vmap over rows, policies and problems in float64; tolerance: another order of the sums."""
    tinies = [tiny(seed) for seed in range(5)]
    problems, policies = jax.tree.map(lambda *leaves: np.stack(leaves), *tinies)
    rows = schedules.stack([random_row(seed) for seed in range(5)])
    batch = float64(jax.vmap(exact.play))(problems, policies, rows)
    for i, (problem, policy) in enumerate(tinies):
        one = exact.play(problem, policy, random_row(i))
        assert batch.intervened is batch.entered is one.intervened is one.entered is None  # there is no gate
        for got, want in zip(batch[:-2], one[:-2], strict=True):
            assert got.dtype == np.float64
            np.testing.assert_allclose(got[i], want, rtol=1e-13, atol=1e-15)

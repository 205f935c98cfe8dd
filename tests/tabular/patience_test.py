"""Chunks that end where the learner's error, summed since their start, would pass a threshold."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import gallery, randomness, schedules
from dagger_jax.tabular import exact, interaction, learners, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

T, S, A, B = 12, 5, 3, 400
KEY = randomness.for_round(randomness.words(jax.random.key(11)), 0)
IDS = np.arange(B, dtype=np.uint32)
TRACE = jax.jit(rollout.trace)
PLAY = jax.jit(rollout.play)


def certain_moves():
    """Deterministic transitions: the trace alone says where a walker would have been without a jump."""
    rng = np.random.default_rng(0)
    targets = np.moveaxis(rng.permuted(np.tile(np.arange(S), (T, A, 1)), axis=-1), 1, 2)  # walkers never merge
    world = tabular.world(np.eye(S)[targets], rng.random((T, S, A)), np.full(S, 1 / S), T)
    expert = np.eye(A)[rng.integers(0, A, (T, S))]
    return Problem(world, expert), targets


def dyadic_learner(problem, seed=1):
    """Errs by multiples of 1/32: sums are exact in float32, so that a threshold may be met exactly."""
    rng = np.random.default_rng(seed)
    error = rng.integers(0, 9, (T, S)) / 32
    wrong = np.roll(problem.expert, 1, -1)
    return (1 - error[..., None]) * problem.expert + error[..., None] * wrong, error


def patient(patience, boundary):
    table = schedules.chunked(1, jnp.asarray(boundary, float))
    return schedules.row(table._replace(patience=jnp.full((1, T), patience)), 0)


def rule(trace, targets, error, boundary, patience, episode):
    """One episode's hand-overs, by the rule in plain Python, from the walkers' moves."""
    novice, guide, spent, joined = None, None, 0.0, []
    for t in range(T):
        if t == 0:
            novice = guide = int(trace.novice[0, episode])
        joins = bool(boundary[t]) or spent + error[t, guide] > patience
        guide, spent = (novice, 0.0) if joins else (guide, spent)
        spent += error[t, guide]
        joined.append(joins)
        assert (novice, guide) == (trace.novice[t, episode], trace.guide[t, episode])
        novice = targets[t, novice, trace.acts[t, episode]]
        guide = targets[t, guide, trace.guided[t, episode]]
    return joined


@pytest.mark.parametrize("patience", [0.0, 0.25, 0.5, 0.75, np.inf])
@pytest.mark.parametrize("starts", [[0], [0, 4, 9]])
def test_against_the_rule_in_plain_python(patience, starts):
    """400 episodes, step by step; multiples of 1/32, so that sums equal the threshold now and then."""
    problem, targets = certain_moves()
    policy, error = dyadic_learner(problem)
    boundary = np.isin(np.arange(T), starts)
    row = patient(patience, boundary)
    trace = jax.device_get(TRACE(rollout.tables(problem), policy, row, KEY, IDS))
    wanted = [rule(trace, targets, error, boundary, patience, episode) for episode in range(B)]
    np.testing.assert_array_equal(trace.joined, np.array(wanted).T)
    kept = PLAY(rollout.tables(problem), policy, row, KEY, IDS)[1]
    np.testing.assert_array_equal(kept.chunks, trace.joined.sum(0))
    if 0 < patience < np.inf:
        assert np.unique(trace.joined, axis=1).shape[1] > 1  # lengths depend on the states
        assert len(starts) > 1 or met_exactly(trace, error, patience) > 10


def spent_in_chunks(trace, error):
    """Every chunk's summed error at the guide's states, and its length, over all episodes."""
    sums, lengths = [], []
    for episode in range(trace.guide.shape[1]):
        joined = trace.joined[:, episode]
        each = error[np.arange(T), trace.guide[:, episode]]
        first = np.flatnonzero(joined)
        sums.append(np.add.reduceat(each, first))
        lengths.append(np.diff(np.append(first, T)))
    return np.concatenate(sums), np.concatenate(lengths)


def met_exactly(trace, error, patience):
    return (spent_in_chunks(trace, error)[0] == patience).sum()


@pytest.mark.parametrize("temperature", [None, 0.3])
@pytest.mark.parametrize("patience", [0.05, 0.3, 0.8])
def test_no_chunk_spends_more_than_its_patience(temperature, patience):
    """Random moves, deterministic and stochastic experts. A chunk of one step may: it cannot be shorter."""
    problem = gallery.random_mdp(T, S, A, seed=3, temperature=temperature)
    rng = np.random.default_rng(2)
    policy = problem.expert + rng.random((T, S, 1)) * 0.3 * (rng.dirichlet(np.ones(A), (T, S)) - problem.expert)
    error = 0.5 * np.abs(policy - problem.expert).sum(-1)
    row = patient(patience, np.arange(T) == 0)
    trace = jax.device_get(TRACE(rollout.tables(problem), policy, row, KEY, IDS))
    sums, lengths = spent_in_chunks(trace, error)
    assert sums[lengths > 1].max() <= patience + 1e-6  # float32, of at most 12 terms
    assert (lengths == 1).any() or patience > error.max()
    assert lengths.max() > 1
    assert sums[lengths > 1].max() > 0.6 * patience  # and it is used up


@pytest.mark.parametrize("boundary", [schedules.starts(T, T), schedules.starts(T, 5), schedules.geometric(T, 3.0)])
def test_endless_patience_is_none(boundary):
    problem = gallery.random_mdp(T, S, A, seed=4, temperature=0.3)
    policy = np.random.default_rng(3).dirichlet(np.ones(A), (T, S))
    row = patient(np.inf, boundary)
    with_it = PLAY(rollout.tables(problem), policy, row, KEY, IDS)
    without = PLAY(rollout.tables(problem), policy, row._replace(patience=None), KEY, IDS)
    jax.tree.map(np.testing.assert_array_equal, with_it, without)


def test_no_patience_hands_over_wherever_the_learner_errs():
    """Where it errs everywhere, these are chunks of one step, bit for bit."""
    problem, _ = certain_moves()
    everywhere = 0.9 * problem.expert + 0.1 * np.roll(problem.expert, 1, -1)
    none = PLAY(rollout.tables(problem), everywhere, patient(0.0, np.arange(T) == 0), KEY, IDS)
    ones = schedules.row(schedules.chunked(1, schedules.starts(T, 1)), 0)
    jax.tree.map(np.testing.assert_array_equal, none, PLAY(rollout.tables(problem), everywhere, ones, KEY, IDS))
    np.testing.assert_array_equal(none[1].chunks, T)
    never = PLAY(rollout.tables(problem), problem.expert, patient(0.0, np.arange(T) == 0), KEY, IDS)
    np.testing.assert_array_equal(never[1].chunks, 1)


def test_the_expert_moving_the_novice_is_no_error():
    """`patience` counts the learner's own error: not its share of the acting mixture, nor what noise does."""
    problem, _ = certain_moves()
    policy = 0.75 * problem.expert + 0.25 * np.roll(problem.expert, 1, -1)
    for column in ({"beta": 0.5}, {"noise": 0.5}):
        table = schedules.table(1, T, join=schedules.starts(T, T), label_guide=1.0, patience=1.0, **column)
        kept = PLAY(rollout.tables(problem), policy, schedules.row(table, 0), KEY, IDS)[1]
        np.testing.assert_array_equal(kept.chunks, 3)  # chunks of 4 steps, 4 x 0.25


def test_one_program_for_all_patience():
    """Vmapped over thresholds and over rounds of `run`; each chunk as long as its patience lasts."""
    problem = gallery.random_mdp(T, 3, 2, seed=5)
    world, learner = rollout.tables(problem), learners.tabular(problem.world, learners.LogLoss(3.0), shared=True)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def over(patience):
        def one(threshold):
            row = patient(threshold, np.arange(T) == 0)
            policy = 0.8 * problem.expert + 0.2 / 2
            chunks = rollout.play(world, policy, row, KEY, IDS)[1].chunks
            schedule = schedules.chunked(3, jnp.ones(T))._replace(patience=jnp.full((3, T), threshold))
            outcome = interaction.run(problem, schedule, learner, interaction.by_sampling(world, KEY, IDS[:50]))
            return chunks, outcome.memory.weight.sum()

        return jax.vmap(one)(patience)

    for thresholds in ([0.0, 0.15, 0.25, 0.45, 2.0], [0.12, 0.22, 0.32, 0.72, np.inf]):
        chunks, weight = over(np.array(thresholds, np.float32))
        # an error of 0.1 everywhere: chunks of floor(patience / 0.1) steps, at least 1
        wanted = [-(-T // int(np.clip(threshold / 0.1, 1, T))) for threshold in thresholds]
        np.testing.assert_array_equal(chunks, np.tile(wanted, (B, 1)).T)
        np.testing.assert_allclose(weight, 3 * T, rtol=1e-5)


def test_exact_refuses_what_it_cannot_know():
    problem = gallery.random_mdp(T, S, A, seed=4)
    with pytest.raises(ValueError, match=r"schedule\.patience makes chunk lengths depend on states: only rollout"):
        exact.play(problem, problem.expert, patient(0.5, np.arange(T) == 0))

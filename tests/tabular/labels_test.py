"""Labels against their definitions, step by step in numpy, and AggreVaTe's equality."""

import jax
import numpy as np
import pytest

from dagger_jax import evidence, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, gallery, interaction, labels, learners, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Occupancy, Problem

T, S, A = 5, 4, 3
cost_to_go = float64(labels.cost_to_go)
imitate = float64(labels.imitate)


def world(seed=0, **kwargs):
    return gallery.random_mdp(T, S, A, seed, **kwargs)


def some_play(seed=0, guide=True):
    rng = np.random.default_rng(seed)
    law = lambda: rng.dirichlet(np.ones(S * A), T).reshape(T, S, A)
    return Occupancy(law(), law() if guide else None, None)


def some_policy(seed=0, steps=T):
    return np.random.default_rng(seed).dirichlet(np.ones(A), (steps, S))


def weighted_row(seed=0, **columns):
    rng = np.random.default_rng(seed)
    novice, guide = rng.random(T), rng.random(T) * 3
    novice[1] = guide[1] = 0.0  # nothing is asked at step 1
    columns = {"label_novice": novice, "label_guide": guide, "join": np.eye(T)[0]} | columns
    row = schedules.row(schedules.table(1, T, **columns), 0)
    return row, np.asarray(row.label_novice, float), np.asarray(row.label_guide, float)


# ---- imitate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", [True, False])
def test_imitate_costs_one_for_every_action_but_the_experts(guide):
    problem, play = world(observations=2), some_play(guide=guide)
    row, novice, guided = weighted_row()
    guide_law = np.zeros((T, S, A)) if play.guide is None else play.guide
    batch = imitate(problem, play, row, some_policy())
    for t in range(T):
        for s in range(S):
            asked = novice[t] * play.novice[t, s] + guided[t] * guide_law[t, s]
            np.testing.assert_allclose(batch.weight[t, s], asked.sum(), rtol=1e-12)
            for a in range(A):
                others = sum(asked[b] for b in range(A) if b != a)
                np.testing.assert_allclose(batch.costs[t, s, a], others, rtol=1e-12)
            assert batch.step[t, s] == t
            assert batch.observation[t, s] == problem.world.observation[s]
    assert batch.weight[1].sum() == 0
    np.testing.assert_allclose(batch.weight.sum(-1), novice + guided * guide, rtol=1e-12)


def test_imitate_of_sampled_labels_counts_the_labels_that_a_stochastic_expert_gave():
    """The costs are those of the sampled actions, not of the expert's probabilities."""
    problem, episodes = world(temperature=0.4), 50
    row = schedules.row(schedules.dagger(1, T, np.zeros(1)), 0)
    key = randomness.for_round(randomness.words(jax.random.key(3)), 0)
    ids = np.arange(episodes, dtype=np.uint32)
    play = jax.jit(rollout.play)(rollout.tables(problem), some_policy(), row, key, ids)[0]
    batch = jax.jit(labels.imitate)(problem, play, row, some_policy())
    counts = np.asarray(batch.weight[..., None] - batch.costs, float) * episodes
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)  # whole numbers of labels, in float32
    np.testing.assert_allclose(counts.sum((1, 2)), episodes, rtol=1e-5)
    np.testing.assert_allclose(batch.weight.sum(-1), 1, rtol=1e-6)  # per episode
    visited = counts.sum(-1) > 5
    shares = counts[visited] / counts[visited].sum(-1, keepdims=True)
    assert np.abs(shares - problem.expert[visited]).max() > 0.02  # sampled, not the law itself
    # and near it: each share is a mean of more than 5 draws
    deviations = (shares - problem.expert[visited]) * np.sqrt(counts[visited].sum(-1, keepdims=True))
    assert np.abs(deviations).max() < 4 * 0.5


def test_exact_labels_carry_the_experts_own_probabilities():
    problem = world(temperature=0.4)
    row = schedules.row(schedules.dagger(1, T, np.zeros(1)), 0)
    laws = exact.play(problem, some_policy(), row)
    batch = imitate(problem, float64(exact.frequencies)(problem, laws), row, some_policy())
    np.testing.assert_allclose(batch.weight, laws.novice, rtol=1e-12)
    np.testing.assert_allclose(batch.costs, laws.novice[..., None] * (1 - problem.expert), rtol=1e-9, atol=1e-15)


def test_the_loss_of_a_policy_is_its_disagreement():
    """sum of costs x probabilities over steps = sum_t eps_t, for a deterministic expert."""
    problem, policy = world(), some_policy()
    row = schedules.row(schedules.chunked(1, schedules.starts(T, 2)), 0)
    laws = exact.play(problem, policy, row)
    batch = imitate(problem, float64(exact.frequencies)(problem, laws), row, policy)
    seen = evidence.measure(problem, policy, row, evidence.constants(problem))
    np.testing.assert_allclose((batch.costs * policy).sum((1, 2)), seen.eps, rtol=1e-12)


# ---- cost_to_go ---------------------------------------------------------------------------------------------


def followed(problem, t, state, action, policy):
    """Take an action at step t, then follow a policy [T, S, A]: the definition, forwards."""
    world = problem.world
    total = world.cost[t, state, action]
    law = world.transition[t, state, action]
    for later in range(t + 1, T):
        moves = law[:, None] * policy[later]
        total += (moves * world.cost[later]).sum()
        law = np.einsum("sa,sap->p", moves, world.transition[later])
    return total


@pytest.mark.parametrize("after", [1.0, 0.0, 0.25])
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_deviate_against_brute_force(after, temperature):
    problem, policy, play = world(1, temperature=temperature), some_policy(2), some_play(3)
    row, novice, guided = weighted_row(after=after)
    batch = cost_to_go(problem, play, row, policy)
    weight = novice[:, None] * play.novice.sum(-1) + guided[:, None] * np.asarray(play.guide).sum(-1)
    np.testing.assert_allclose(batch.weight, weight, rtol=1e-12)
    for t in range(T):
        for s in range(S):
            to_go = np.array(
                [
                    after * followed(problem, t, s, a, problem.expert)
                    + (1 - after) * followed(problem, t, s, a, policy)
                    for a in range(A)
                ]
            )
            wanted = weight[t, s] * (to_go - to_go.min())
            np.testing.assert_allclose(batch.costs[t, s], wanted, rtol=1e-10, atol=1e-13)
    assert batch.costs.max() > 0.05


def test_who_completes_the_deviation_matters():
    problem, policy, play = world(1), some_policy(2), some_play(3)
    expert, learner = (cost_to_go(problem, play, weighted_row(after=after)[0], policy).costs for after in (1.0, 0.0))
    assert np.abs(expert - learner).max() > 0.01


def test_deviate_takes_a_stationary_policy():
    problem, play, policy = world(1), some_play(3), some_policy(2, steps=1)
    row = weighted_row(after=0.5)[0]
    one, many = (cost_to_go(problem, play, row, p).costs for p in (policy, np.repeat(policy, T, 0)))
    np.testing.assert_allclose(one, many, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("expert", ["optimal", "stochastic", "arbitrary"])
def test_aggrevate_equality(expert):
    """The cost-weighted loss under the learner's own states, above the expert's own, is the gap.

    docs/theory.md#aggrevate.
    """
    for seed in range(10):
        problem, policy = world(seed), some_policy(seed + 100)
        if expert == "stochastic":
            problem = world(seed, temperature=0.3)
        if expert == "arbitrary":
            choice = np.random.default_rng(seed).integers(0, A, (T, S))
            problem = Problem(problem.world, experts.deterministic(choice, A))
        row = schedules.row(schedules.dagger(1, T, np.zeros(1))._replace(after=np.ones((1, T))), 0)
        laws = exact.play(problem, policy, row)
        batch = cost_to_go(problem, float64(exact.frequencies)(problem, laws), row, policy)
        gap = evidence.measure(problem, policy, row, evidence.constants(problem)).gap
        assert abs(gap) > 1e-3
        np.testing.assert_allclose((batch.costs * (policy - problem.expert)).sum(), gap, rtol=1e-10)
        if expert == "optimal":  # which costs nothing itself
            np.testing.assert_allclose((batch.costs * policy).sum(), gap, rtol=1e-10)


def test_deviate_prefers_the_cheap_mistake_where_imitate_sees_none():
    """Two wrong actions that cost 0.01 and 1. An aliased learner that must err errs cheaply.

    docs/theory.md#cheap-and-dear-mistakes.
    """
    cost = np.array([[0.0, 0.01, 1.0], [1.0, 0.01, 0.0]])
    look_alike = tabular.world(np.full((2, 3, 2), 0.5), cost, np.full(2, 0.5), 4, np.zeros(2, int))
    problem = Problem(look_alike, experts.optimal(look_alike))
    learner = learners.tabular(look_alike, learners.Majority(), shared=True)
    schedule = schedules.dagger(3, 4)._replace(after=np.ones((3, 4)))
    run = float64(
        lambda problem, label: (
            interaction.run(problem, schedule, learner, interaction.exactly(problem), label=label).newest
        ),
        static=["label"],
    )
    np.testing.assert_array_equal(run(problem, label=labels.cost_to_go)[0], np.eye(3)[[1, 1]])
    np.testing.assert_array_equal(run(problem, label=labels.imitate)[0], np.eye(3)[[0, 0]])

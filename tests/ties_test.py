"""Rounding decides nothing: what is equal stays equal when its bits are shaken, and goes by the index."""

import numpy as np
import pytest

from dagger_jax import schedules, ties
from dagger_jax.precision import float64
from dagger_jax.tabular import gates, learners, oracle, planning
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.experts import optimal
from dagger_jax.types import Problem

T, S = 5, 8


def shaken(values, rng, size=1e-15):
    """With relative errors of a few units in the last place."""
    return values * (1 + size * rng.uniform(-1, 1, np.shape(values)))


def alike(rng, size=1e-15):
    """A world whose states cost the same from every other step on, up to rounding; cost 0.3 for a wrong action."""
    transition = shaken(np.full((S, 2, S), 1 / S), rng, size)
    cost = np.broadcast_to([0.1, 0.4], (S, 2)) + np.where(np.arange(S) < 4, 0.0, 0.2)[:, None] * [0, 1]
    world = tabular.world(transition, shaken(cost, rng, size), shaken(np.full(S, 1 / S), rng, size), T)
    return Problem(world, optimal(world))


@pytest.mark.parametrize("focus", ["even", "worst"])
def test_an_oracle_errs_in_the_same_states(focus):
    """Of equal states the first: errors of 0.3 fill states 4 and 5, and 0.4 of state 6."""
    row, errors = schedules.row(schedules.chunked(1, schedules.starts(T, 2)), 0), np.full(T, 0.3)
    found = [oracle.policy(alike(np.random.default_rng(seed)), row, errors, focus) for seed in range(20)]
    for policy in found:
        np.testing.assert_allclose(policy, found[0], rtol=0, atol=1e-12)
    if focus == "worst":
        np.testing.assert_allclose(found[0][0, :, 1], [0, 0, 0, 0, 1, 1, 0.4, 0], rtol=0, atol=1e-12)


def test_off_the_training_law_the_first_of_the_costliest_actions_is_taken():
    rng, row = np.random.default_rng(0), schedules.row(schedules.behavioural_cloning(1, 2), 0)
    for _ in range(20):
        # State 0 stays under action 0, and no label is seen in state 1, where actions 1 and 2 cost the same.
        transition = np.array([[[1, 0], [0, 1], [0, 1]], [[0, 1]] * 3], float)
        world = tabular.world(
            transition, shaken(np.array([[0, 0.3, 0.3], [0, 0.3, 0.1 + 0.2]]), rng), np.array([1.0, 0.0]), 2
        )
        policy = oracle.policy(Problem(world, optimal(world)), row, np.zeros(2))
        np.testing.assert_array_equal(policy[:, 1, 1], 1)


def test_the_order_has_no_edges():
    """Equal values are one group wherever they lie; groups are told apart by what lies between, not by a grid."""
    rng = np.random.default_rng(0)
    order = float64(lambda values: ties.descending(values, ties.TIE))
    for level in (0.1, 0.5 * ties.TIE, 1.5 * ties.TIE, 1 / 3, 1e3):
        values = shaken(np.full(9, level), rng)
        np.testing.assert_array_equal(order(values), np.arange(9))
        values[[2, 5]] += 1e-9
        np.testing.assert_array_equal(order(values), [2, 5, 0, 1, 3, 4, 6, 7, 8])
    np.testing.assert_array_equal(order(np.array([0.1, 0.3, 0.2])), [1, 2, 0])


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_a_table_takes_the_first_of_equal_costs(dtype, size):
    rng, majority = np.random.default_rng(0), learners.Majority()
    choose = float64(majority) if dtype is np.float64 else majority
    for _ in range(50):
        costs = shaken(np.array([[0.7, 0.3, 0.3], [0.3, 0.3, 0.3], [0.3, 0.3, 0.2999]]), rng, size).astype(dtype)
        np.testing.assert_array_equal(np.asarray(choose(costs, costs.sum(-1))).argmax(-1), [1, 0, 2])


def test_a_quantile_shares_equal_scores_out():
    rng, law = np.random.default_rng(0), np.full((T, S), 1 / S)
    scores = np.tile(np.repeat([0.7, 0.1 + 0.2], [2, 6]), (T, 1))
    for _ in range(20):
        taken = float64(gates.above_quantile)(shaken(scores, rng), law, 0.4)
        np.testing.assert_allclose(taken, np.tile(np.repeat([1.0, 0.2], [2, 6]), (T, 1)), rtol=0, atol=1e-12)


def test_a_risk_of_rounding_is_none():
    """Both actions cost the same from every state on: a human who tolerates nothing does not take over."""
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        transition = rng.dirichlet(np.ones(S), S)[:, None].repeat(2, 1)
        world = tabular.world(transition, rng.random((S, 1)).repeat(2, 1), np.full(S, 1 / S), 50)
        problem = Problem(world, np.broadcast_to([1.0, 0.0], (50, S, 2)))
        risk = float64(gates.risk) if dtype is np.float64 else gates.risk
        assert not np.asarray(risk(problem, rng.dirichlet(np.ones(2), (50, S)).astype(dtype))).any()


def test_equal_partitions_are_one():
    """Of 7 steps in chunks of at most 2 steps, equal errors: one chunk of 1, the first."""
    rng, plan = np.random.default_rng(0), float64(planning.optimal_partition)
    for _ in range(20):
        found = plan(shaken(np.full(7, 0.1), rng), 1.0, np.zeros(7), 0.15, 1 - 0.9**2)
        np.testing.assert_array_equal(found.starts, [1, 1, 0, 1, 0, 1, 0])

"""Oracle learners err with exactly the error asked for under the training law, and do their worst elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from dagger_jax import evidence, schedules
from dagger_jax.tabular import exact, experts, gallery, oracle
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

T = 6


def first(schedule):
    return schedules.row(schedule, 0)


ROWS = {
    "cloning": lambda: first(schedules.behavioural_cloning(1, T)),
    "partition": lambda: first(schedules.chunked(1, schedules.partition(T, [2, 1, 3]))),
    "every step": lambda: first(schedules.chunked(1, schedules.starts(T, 1))),
    "geometric": lambda: first(schedules.chunked(1, schedules.geometric(T, 2.5))),
    "dagger": lambda: first(schedules.dagger(1, T, np.array([0.3]))),
    "reset": lambda: first(schedules.reset(1, schedules.starts(T, 2))),
    "reset by coins": lambda: first(schedules.reset(1, schedules.geometric(T, 3.0))),
    "both walkers": lambda: first(
        schedules.table(1, T, join=schedules.starts(T, 3), label_guide=np.arange(1.0, T + 1), label_novice=2.0)
    ),
    "noisy guide": lambda: first(schedules.table(1, T, join=np.eye(T)[0], label_guide=1.0, noise=0.4)),
}


def sparse(seed, states=6, actions=3, temperature=None):
    """Deterministic transitions from one start: much of the world is off any one law."""
    rng = np.random.default_rng(seed)
    transition = np.eye(states)[rng.integers(0, states, (T, states, actions))]
    world = tabular.world(transition, rng.random((T, states, actions)), np.eye(states)[0], T)
    expert = experts.optimal(world) if temperature is None else experts.softened(world, temperature)
    return Problem(world, expert)


def training_law(problem, policy, row):
    """By the labels' weights; every row here asks at every step. [T, S]"""
    laws = exact.play(problem, policy, row)
    novice, guide = (np.asarray(weight, float)[:, None] for weight in (row.label_novice, row.label_guide))
    return (novice * laws.novice + guide * laws.guide) / (novice + guide)


def own_error(problem, policy):
    return 0.5 * np.abs(policy - problem.expert).sum(-1)


# ---- the error asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("focus", ["even", "worst"])
@pytest.mark.parametrize("kind", ROWS)
def test_error_under_the_training_law_is_the_one_asked_for(kind, focus):
    row, rng = ROWS[kind](), np.random.default_rng(1)
    for seed in range(4):
        for temperature in (None, 0.7):
            check_error(gallery.random_mdp(T, seed=seed, temperature=temperature), row, rng.random(T), focus)
            check_error(sparse(seed, temperature=temperature), row, rng.random(T), focus)


def check_error(problem, row, share, focus):
    # A stochastic expert cannot be missed by more than 1 - pi*(a|s), a the costliest action: eps stays below.
    known = evidence.constants(problem)
    wrong = np.where(problem.expert < 1, known.to_go, -1).argmax(-1)
    errors = share * (1 - np.take_along_axis(problem.expert, wrong[..., None], -1)).min()
    assert errors.max() > 0.05
    policy = oracle.policy(problem, row, errors, focus)
    law = training_law(problem, policy, row)
    np.testing.assert_allclose(law.sum(-1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose((law * own_error(problem, policy)).sum(-1), errors, rtol=0, atol=1e-12)
    np.testing.assert_allclose(evidence.measure(problem, policy, row, known).eps, errors, rtol=0, atol=1e-12)
    np.testing.assert_allclose(policy.sum(-1), 1, rtol=0, atol=1e-12)
    assert policy.min() >= 0


def test_even_focus_errs_alike_in_every_trained_state():
    row = ROWS["partition"]()
    for seed in range(3):
        problem, errors = sparse(seed), np.linspace(0.05, 0.9, T)
        policy = oracle.policy(problem, row, errors)
        trained = training_law(problem, policy, row) > 0
        error = own_error(problem, policy)
        for t in range(T):
            np.testing.assert_allclose(error[t, trained[t]], errors[t], rtol=0, atol=1e-12)


@pytest.mark.parametrize("focus", ["even", "worst"])
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_off_the_training_law_the_costliest_action_is_taken(focus, temperature):
    row, untrained = ROWS["cloning"](), 0
    for seed in range(4):
        problem = sparse(seed, states=8, temperature=temperature)
        policy = oracle.policy(problem, row, np.full(T, 0.01), focus)
        off = training_law(problem, policy, row) == 0
        to_go = evidence.constants(problem).to_go
        np.testing.assert_array_equal(policy[off], np.eye(3)[to_go.argmax(-1)][off])
        untrained += off.sum()
    assert untrained > 50


def test_an_error_is_the_costliest_action_that_is_not_the_experts():
    """Where all actions cost the same the expert's own may be the costliest: it is no error."""
    world = tabular.world(np.ones((1, 3, 1)), np.array([[0.5, 0.2, 0.2]]), np.ones(1), 2)
    problem = Problem(world, experts.deterministic(np.array([0]), 3))
    policy = oracle.policy(problem, first(schedules.behavioural_cloning(1, 2)), np.array([0.25, 0.5]))
    np.testing.assert_allclose(policy[:, 0], [[0.75, 0.25, 0], [0.5, 0.5, 0]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["cloning", "partition", "geometric", "reset"])
def test_worst_focus_does_most_harm_a_step_that_the_error_allows(kind):
    """Against a linear program at every step: max sum_s rho(s) x(s) harm(s), sum_s rho(s) x(s) = eps_t.

    Which states to err in is a greedy choice, step by step: the gap of "worst" need not exceed that of "even".
    """
    row, rng, better = ROWS[kind](), np.random.default_rng(5), 0
    for seed in range(4):
        problem, errors = gallery.random_mdp(T, seed=seed), rng.random(T)
        known = evidence.constants(problem)
        policy = oracle.policy(problem, row, errors, "worst")
        law = training_law(problem, policy, row)
        done = evidence.measure(problem, policy, row, known).training_advantage
        wrong = np.where(problem.expert < 1, known.to_go, -np.inf).max(-1)
        for t in range(T):
            harm = wrong[t] - known.value[t]
            most = linprog(-law[t] * harm, A_eq=law[t][None], b_eq=errors[t], bounds=(0, 1))
            np.testing.assert_allclose(done[t], -most.fun, rtol=0, atol=1e-9)  # the solver's own tolerance
            better += done[t] > law[t] @ harm * errors[t] + 1e-3  # more than erring alike everywhere
    assert better > 10


# ---- placement ---------------------------------------------------------------------------------------------


def test_placement_puts_the_average_where_it_is_told_to():
    boundary = schedules.partition(7, [3, 1, 3])
    wanted: dict[oracle.Placement, list[float]] = {
        "uniform": [0.02] * 7,
        "first": [0.06, 0, 0, 0.02, 0.06, 0, 0],
        "last": [0, 0, 0.06, 0.02, 0, 0, 0.06],
        "start": [0.14, 0, 0, 0, 0, 0, 0],
    }
    for where, errors in wanted.items():
        placed = oracle.placement(boundary, 0.02, where)
        np.testing.assert_allclose(placed, errors, rtol=1e-15)
        np.testing.assert_allclose(placed.mean(), 0.02, rtol=1e-15)
        # an excursion starts at step 0 as well, whatever `back` says there
        np.testing.assert_array_equal(oracle.placement(np.asarray(boundary) & (np.arange(7) > 0), 0.02, where), placed)


@pytest.mark.parametrize("eps", [-0.1, 1.1, np.nan])
def test_placement_refuses_eps(eps):
    with pytest.raises(ValueError, match=rf"eps must lie in \[0, 1\], got {eps}"):
        oracle.placement(np.ones(3), eps, "uniform")


@pytest.mark.parametrize(("where", "needed"), [("first", "1.6"), ("last", "1.6"), ("start", "3.2")])
def test_placement_refuses_an_error_above_one(where, needed):
    with pytest.raises(ValueError, match=rf"eps 0.4 placed '{where}' needs an error of {needed} at one step"):
        oracle.placement(schedules.starts(8, 4), 0.4, where)


# ---- refusals ----------------------------------------------------------------------------------------------


def test_policy_needs_a_training_law_at_every_step():
    row = first(schedules.forward_training(T))  # labels step 0 alone
    with pytest.raises(ValueError, match="every step must ask a label"):
        oracle.policy(gallery.cliff(T), row, np.zeros(T))


def test_policy_refuses_an_error_that_it_cannot_make():
    """A uniform expert over 2 actions can be missed by 1/2 in total variation, not by 0.9."""
    world = gallery.chunk_reset(T).world
    problem = Problem(world, np.full((1, 2, 2), 0.5))
    with pytest.raises(ValueError, match=r"error"):
        oracle.policy(problem, ROWS["cloning"](), np.full(T, 0.9))


def test_policy_can_be_batched():
    """Over errors, in one call, as thousands of oracles are needed."""
    problem, row = gallery.random_mdp(T), ROWS["partition"]()
    errors = np.array([[0.1] * T, [0.3] * T])
    together = jax.vmap(lambda errors: oracle.policy(problem, row, errors))(jnp.asarray(errors))
    for one, policy in zip(errors, together, strict=True):
        np.testing.assert_allclose(policy, oracle.policy(problem, row, one), rtol=0, atol=1e-6)

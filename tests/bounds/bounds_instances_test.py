"""Each bound where it is an equality, against its formula, and next to wrong bounds that fail."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.tabular import exact, gallery, oracle
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

TOLERANCE = 1e-9

# ---- tight instances -------------------------------------------------------------------------------------


def measured(problem, boundary, errors, kind=schedules.chunked):
    row = schedules.row(kind(1, jnp.asarray(boundary)), 0)
    known = evidence.constants(problem)
    return row, evidence.measure(problem, oracle.policy(problem, row, errors), row, known), known


def placed(problem, chunk, where, kind=schedules.chunked, eps=1e-7):
    boundary = schedules.starts(problem.world.horizon, chunk)
    return measured(problem, boundary, oracle.placement(boundary, eps, where), kind)


TIGHT = {
    "T^2 eps": lambda: placed(gallery.rb3(40), 40, "start"),
    "sum (T-t+1) eps_t": lambda: placed(gallery.cliff(40), 8, "uniform"),
    "u T eta": lambda: placed(gallery.chunk_reset(40), 1, "uniform"),
    "u sum r_t eps_t": lambda: placed(gallery.chunk_reset(40), 8, "uniform"),
    "u k T eps": lambda: placed(gallery.chunk_reset(40), 8, "first"),
    "sum (r_t+D) eps_t": lambda: placed(gallery.chunk_reset(40), 8, "first"),
    "combined": lambda: placed(gallery.cliff(40), 8, "uniform"),
    "cost-weighted": lambda: placed(gallery.chunk_reset(40), 8, "uniform"),
    "own error": lambda: placed(gallery.chunk_reset(40), 8, "first"),
    "chunk distance": lambda: placed(gallery.chunk_reset(40), 8, "first"),
    "law shift": lambda: placed(gallery.chunk_reset(40), 8, "first"),
    "cost to go": lambda: placed(gallery.chunk_reset(40), 1, "uniform"),
    "reset variant": lambda: placed(gallery.chunk_reset(40), 8, "last", schedules.reset),
}


@pytest.mark.parametrize("name", bounds.of_rows())
def test_every_bound_is_reached(name):
    """To first order in eps = 1e-7: ratios within T^2 eps = 2e-4 of 1, at every step where both sides count."""
    row, seen, known = TIGHT[name]()
    bound = bounds.BOUNDS[name]
    value, bounded = np.broadcast_arrays(bound.value(row, seen, known), bound.bounded(seen))
    counts = np.asarray(value) > 1e-12
    assert counts.any()
    np.testing.assert_allclose(bounded[counts] / value[counts], 1, rtol=0, atol=2e-4)
    assert bounds.slacks(row, seen, known)[name] >= -TOLERANCE


# ---- formulas --------------------------------------------------------------------------------------------


def steps_of(boundary):
    """For every step: the first and the last step of its chunk, counted from 1."""
    horizon, first = len(boundary), 1
    spans = []
    for t in range(1, horizon + 1):
        first = t if boundary[t - 1] else first
        last = next((s - 1 for s in range(t + 1, horizon + 1) if boundary[s - 1]), horizon)
        spans.append((first, last))
    return spans


def test_formulas_against_their_definitions():
    """On invented evidence, written out step by step, t = 1..T."""
    rng, horizon = np.random.default_rng(0), 9
    for _ in range(20):
        boundary = rng.random(horizon) < 0.4
        boundary[0] = True
        eps, span, eta, weighted, advantage = rng.random((5, horizon))
        u = np.asarray(3 * rng.random())
        span[-1] = 0.0  # nothing is left after step T
        seen = evidence.Evidence(0.5 * u, u, eps, eta, advantage, weighted, 0 * eps, 0 * eps, len(eps))
        known = evidence.Constants(0 * eps, 0 * eps, u, span, 0 * u)
        row = schedules.row(schedules.chunked(1, boundary), 0)
        back = schedules.row(schedules.reset(1, boundary), 0)
        spans = steps_of(boundary)
        t = range(1, horizon + 1)
        left = [last - i + 1 for i, (_, last) in zip(t, spans, strict=True)]
        after = [span[last - 1] for _, last in spans]
        rows = list(zip(t, eps, left, after, spans, strict=True))
        wanted = {
            bounds.quadratic: horizon * eps.sum(),
            bounds.to_the_end: sum((horizon - i + 1) * e for i, e, *_ in rows),
            bounds.own_law: u * eta.sum(),
            bounds.performance_difference: advantage.sum(),
            bounds.chunk_recoverable: sum(u * r * e for _, e, r, *_ in rows),
            bounds.chunk_longest: u * max(left) * eps.sum(),
            bounds.chunk_span: sum((r + d) * e for _, e, r, d, _ in rows),
            bounds.chunk_combined: sum(e * min(u * r, r + d, horizon - i + 1) for i, e, r, d, _ in rows),
            bounds.chunk_cost_weighted: weighted.sum() + u * sum((r - 1) * e for _, e, r, *_ in rows),
            bounds.own_error: sum(r * e for _, e, r, *_ in rows),
            bounds.chunk_distance: [eps[first - 1 : i].sum() for i, *_, (first, _) in rows],
            bounds.law_shift: [eps[first - 1 : i - 1].sum() for i, *_, (first, _) in rows],
        }
        for function, value in wanted.items():
            got = function(row, seen, known)
            np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6, err_msg=function.__name__)  # float32
        resets = sum(u * (1 + horizon - last) * e for _, e, _, _, (_, last) in rows)
        np.testing.assert_allclose(bounds.reset_variant(back, seen, known), resets, rtol=1e-5)
        np.testing.assert_allclose(bounds.random_phase(4, seen, known), 4 * u * eps.sum(), rtol=1e-6)
    assert set(bounds.of_rows()) == set(TIGHT)


@pytest.mark.parametrize(("horizon", "chunk"), [(12, 3), (20, 20), (9, 1)])
def test_uniform_errors_cost_half_as_much(horizon, chunk):
    """u (k + 1) / 2 T eps where eps_t is constant; u eps [T + T (T - k) / 2] for resets.

    docs/theory.md#chunks-the-recoverable-bound, docs/theory.md#excursions-the-reset-variant.
    """
    row, seen, known = placed(gallery.debt(horizon, 3), chunk, "uniform", eps=1e-3)
    bound = bounds.chunk_recoverable(row, seen, known)
    np.testing.assert_allclose(bound, 3 * (chunk + 1) / 2 * horizon * 1e-3, rtol=1e-6)
    row, seen, known = placed(gallery.debt(horizon, 3), chunk, "uniform", schedules.reset, eps=1e-3)
    bound = bounds.reset_variant(row, seen, known)
    np.testing.assert_allclose(bound, 3e-3 * (horizon + horizon * (horizon - chunk) / 2), rtol=1e-6)


# ---- wrong bounds ----------------------------------------------------------------------------------------


def test_chunks_do_not_help_without_recoverability():
    """On the cliff "T k eps" is false, and the gap is the same for every k.

    docs/theory.md#chunks-where-recoverability-is-needed.
    """
    gaps = []
    for chunk in (1, 2, 5, 40):
        row, seen, known = placed(gallery.cliff(40), chunk, "uniform", eps=1e-4)
        gaps.append(seen.gap)
        without_u = bounds.chunk_longest(row, seen, known._replace(recoverability=1.0))
        np.testing.assert_allclose(without_u, 40 * chunk * 1e-4, rtol=1e-6)
        if chunk < 20:
            assert seen.gap > 1.9 * without_u
        assert seen.gap <= bounds.chunk_longest(row, seen, known)
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9)


WRONG = {
    "T k eps, where one error costs u = 3": (
        lambda: placed(gallery.debt(240, 3), 4, "first"),
        lambda row, seen, known: 4 * seen.eps.sum(),
    ),
    "T (T + 1) / 2 eps, where errors come early": (
        lambda: placed(gallery.rb3(40), 40, "start"),
        lambda row, seen, known: 20.5 * seen.eps.sum(),
    ),
    "u sum (r_t - 1/2) eps_t": (
        lambda: placed(gallery.chunk_reset(40), 8, "uniform"),
        lambda row, seen, known: bounds.chunk_recoverable(row, seen, known) - 0.5 * seen.eps.sum(),
    ),
    "sum r_t eps_t, forgetting what comes after the chunk": (
        lambda: placed(gallery.cliff(40), 8, "uniform"),
        lambda row, seen, known: bounds.chunk_span(row, seen, known._replace(span=0 * known.span)),
    ),
    "u k T eps for resets": (
        lambda: placed(gallery.chunk_reset(40), 8, "last", schedules.reset),
        lambda row, seen, known: 8 * known.recoverability * seen.eps.sum(),
    ),
    "u (k + 1) / 2 T eps for geometric chunks of mean k": (
        lambda: stuck_in_geometric_chunks(5.0),
        lambda row, seen, known: 3 * seen.eps.sum(),
    ),
}


def stuck_in_geometric_chunks(mean):
    """A learner that errs with 1e-4 in G and always in B does not come back by itself.

    docs/theory.md#the-chunk-reset-chain.
    """
    problem, policy = gallery.chunk_reset(2000), np.array([[[1 - 1e-4, 1e-4], [0.0, 1.0]]])
    row = schedules.row(schedules.chunked(1, schedules.geometric(2000, mean)), 0)
    known = evidence.constants(problem)
    return row, evidence.measure(problem, policy, row, known), known


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_bound_is_violated(name):
    instance, wrong = WRONG[name]
    row, seen, known = instance()
    assert seen.gap > 1.05 * wrong(row, seen, known)


def reward_for_erring(stochastic):
    """Two steps, BC. A right step leads to where the expert errs and the learner does not, a wrong one to
    where the learner errs: the learner's advantage over the expert is lost with its first error.
    """
    transition = np.array([[[0, 0, 1], [0, 1, 0]], [[0, 1, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]], float)
    world = tabular.world(transition, np.array([[0, 0], [0, 1], [0, 1]]), np.eye(3)[0], 2)
    expert = np.eye(2)[[[0, 0, 1]]].astype(float)
    if stochastic:
        expert[0, 2] = 0.1, 0.9
    learner = np.eye(2)[[[0, 1, 0]]].astype(float)
    learner[0, 0] = 0.9, 0.1
    problem = Problem(world, expert)
    row = schedules.row(schedules.behavioural_cloning(1, 2), 0)
    known = evidence.constants(problem)
    return row, evidence.measure(problem, learner, row, known), known


@pytest.mark.parametrize("stochastic", [False, True])
def test_cost_weighted_bound_where_the_expert_can_be_improved_on(stochastic):
    """With u alone it needs Q* - V* >= 0. Else one law's advantage over another's is u + max(V* - min Q*) at most.

    docs/theory.md#chunks-the-cost-weighted-bound.
    """
    row, seen, known = reward_for_erring(stochastic)
    for name, slack in bounds.slacks(row, seen, known).items():
        assert slack >= -TOLERANCE, name


# ---- total variation -------------------------------------------------------------------------------------


def chunk_law(problem, policy, start):
    """Law of all (s_1, a_1, ..., s_T, a_T), by enumeration."""
    world, steps, law = problem.world, problem.world.horizon, {}
    for path in itertools.product(range(world.states), range(world.actions), repeat=steps):
        chance = start[path[0]]
        for t in range(steps):
            state, action = path[2 * t], path[2 * t + 1]
            chance *= policy[t, state, action]
            if t + 1 < steps:
                chance *= world.transition[t, state, action, path[2 * t + 2]]
        law[path] = chance
    return np.array(list(law.values()))


@pytest.mark.parametrize("temperature", [None, 0.3])
def test_overlap_is_the_total_variation_of_the_chunk(temperature):
    """Over the 512 runs of 3 steps, 4 states, 2 actions: equal for a deterministic expert, else no less.

    docs/theory.md#detectability-total-variation.
    """
    for seed in range(5):
        problem = gallery.random_mdp(3, 4, 2, seed, temperature=temperature)
        policy = np.random.default_rng(seed).dirichlet(np.ones(2), (3, 4))
        row = schedules.row(schedules.behavioural_cloning(1, 3), 0)
        by_expert, by_learner = (chunk_law(problem, pi, problem.world.initial) for pi in (problem.expert, policy))
        np.testing.assert_allclose([by_expert.sum(), by_learner.sum()], 1, rtol=1e-12)
        variation = 0.5 * np.abs(by_expert - by_learner).sum()
        laws = exact.play(problem, policy, row)
        first = 0.5 * np.abs(policy[0] - problem.expert[0]).sum(-1) @ problem.world.initial
        np.testing.assert_allclose(1 - laws.overlap[0], first, rtol=1e-12)  # maximally coupled
        apart = 1 - laws.overlap[-1]
        assert apart >= variation - 1e-12
        if temperature is None:
            np.testing.assert_allclose(apart, variation, rtol=1e-12)
            np.testing.assert_allclose(laws.agreement, laws.overlap, rtol=1e-12)
            assert variation > 0.1

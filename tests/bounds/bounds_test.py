"""Every theorem as an inequality, on tens of thousands of random worlds x schedules x learners.

The instances on which they are equalities, and wrong ones that fail, are in bounds_instances_test.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import experts, gallery, oracle
from dagger_jax.types import Problem

TOLERANCE = 1e-9
KINDS = ("cloning", "partition", "coins", "geometric", "reset", "reset by coins")
SETTINGS = {  # horizon, states, actions, concentration, temperature, observations
    "mixing": (6, 5, 3, 0.5, None, None),
    "nearly deterministic": (8, 3, 2, 0.05, None, None),
    "aliased": (6, 6, 3, 0.2, None, 2),
    "two steps": (2, 2, 2, 0.05, None, None),
    "softened expert": (6, 5, 3, 0.3, 0.3, None),
    "nearly uniform expert": (6, 3, 2, 0.05, 2.0, 2),
    "softened expert, two steps": (2, 2, 2, 0.05, 1.0, None),
    "arbitrary expert": (6, 3, 2, 0.05, "arbitrary", None),
}


def worlds(count, seed, horizon, states, actions, concentration, temperature, observations):
    """Random problems, stacked. An "arbitrary" expert is deterministic and not the best."""
    arbitrary = temperature == "arbitrary"
    options = {"concentration": concentration, "observations": observations}
    options["temperature"] = None if arbitrary else temperature
    each = [gallery.random_mdp(horizon, states, actions, seed + i, **options) for i in range(count)]
    if arbitrary:
        choices = np.random.default_rng(seed).integers(0, actions, (count, horizon, states))
        each = [
            Problem(problem.world, experts.deterministic(choice, actions), "random_mdp")
            for problem, choice in zip(each, choices, strict=True)
        ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def random_rows(kind, count, horizon, rng):
    """One row a world, [count, T]."""
    match kind:
        case "cloning":
            boundary = np.zeros((count, horizon))
        case "partition" | "reset":
            boundary = (rng.random((count, horizon)) < rng.random((count, 1))).astype(float)
        case "geometric":
            boundary = np.repeat(rng.random((count, 1)), horizon, 1)
        case _:
            boundary = rng.random((count, horizon))
    boundary[:, 0] = 1.0
    return (schedules.reset if kind.startswith("reset") else schedules.chunked)(count, jnp.asarray(boundary))


def random_learners(problem, count, rng):
    """Policies that mix the expert with a random table of the observations, and errors [T] for oracles."""
    _, horizon, states, actions = np.broadcast_shapes(problem.expert.shape, (count, 1, 1, 1))
    scale = 10.0 ** rng.uniform(-3, 0, (count, 1))
    tables = rng.dirichlet(np.full(actions, 0.3), (count, horizon, states))
    tables = np.take_along_axis(tables, problem.world.observation[:, None, :, None], 2)
    share = scale[..., None, None] * rng.random((count, horizon, 1, 1))
    return (1 - share) * problem.expert + share * tables, scale * rng.random((count, horizon))


@float64
def judge(problem, row, policy, errors):
    """For every world: evidence, slack and sides of each bound, of three learners [W, 3]."""

    def one(problem, row, policy, errors):
        known = evidence.constants(problem)
        even = oracle.policy(problem, row, errors, "even")
        worst = oracle.policy(problem, row, errors, "worst")

        def of(policy):
            seen = evidence.measure(problem, policy, row, known)
            return seen, {
                name: (bounds.slack(bound, row, seen, known), bound.value(row, seen, known), bound.bounded(seen))
                for name, bound in bounds.of_rows().items()
            }

        return jax.vmap(of)(jnp.stack([policy, even, worst]))

    return jax.vmap(one)(problem, row, policy, errors)


def check(setting, kind, count, seed):
    """Asserts that no bound is violated; returns the largest ratio of the two sides of each."""
    horizon, *_, temperature, _ = SETTINGS[setting]
    rng = np.random.default_rng(seed)
    problem = worlds(count, seed, *SETTINGS[setting])
    row = random_rows(kind, count, horizon, rng)
    policy, errors = random_learners(problem, count, rng)
    seen, sides = judge(problem, row, policy, errors)
    named = "reset" if kind.startswith("reset") else "cloning" if kind == "cloning" else "chunks"
    assert np.abs(seen.gap).max() > 0.01
    # Kakade and Langford's equality; sums of a few dozen numbers of order 1
    np.testing.assert_allclose(seen.gap, seen.advantage.sum(-1), rtol=0, atol=1e-12)
    ratios = {}
    for name, (slack, value, bounded) in sides.items():
        if named not in bounds.BOUNDS[name].kinds:
            continue
        assert slack.shape == (count, 3)
        assert slack.min() >= -TOLERANCE, f"{name} is violated in world {slack.min(1).argmin()}"
        value = np.broadcast_to(value, bounded.shape)
        ratios[name] = np.where(value > 1e-6, bounded / np.maximum(value, 1e-6), 0).max()
    check_pointwise(kind, temperature, row, seen)
    return ratios


def check_pointwise(kind, temperature, row, seen):
    """What is said of each step.

    docs/theory.md#chunks-geometric-lengths, docs/theory.md#detectability-total-variation.
    """
    if kind == "geometric":
        p = np.asarray(row.join, float)[:, None, 1:]
        assert (seen.eta[..., 1:] <= seen.eps[..., 1:] / p + TOLERANCE).all()
    if kind in ("cloning", "partition"):
        largest, before = np.zeros_like(seen.eps), 0.0
        for t in range(seen.eps.shape[-1]):
            starts = np.asarray(row.join)[:, None, t] > 0
            largest[..., t] = before = np.maximum(np.where(starts, 0, before), seen.eps[..., t])
        if temperature in (None, "arbitrary"):  # the lower bound is for deterministic experts
            assert (1 - seen.overlap >= largest - TOLERANCE).all()
        assert (seen.overlap >= -TOLERANCE).all()
    if kind == "reset":  # eta_t <= eps_t + sum of eps over the steps before t's excursion
        total, at_start = np.cumsum(seen.eps, -1), 0.0
        for t in range(seen.eps.shape[-1]):
            begins = np.asarray(row.back)[:, None, t] > 0
            at_start = np.where(begins, total[..., t] - seen.eps[..., t], at_start)
            assert (seen.eta[..., t] <= seen.eps[..., t] + at_start + TOLERANCE).all()


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_bound_is_violated(setting):
    """8 settings x 6 kinds of schedule x 200 worlds x 3 learners: 28,800 instances."""
    for number, kind in enumerate(KINDS):
        check(setting, kind, 200, 1000 * number)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_bound_is_violated_in_many_worlds(setting):
    for number, kind in enumerate(KINDS):
        check(setting, kind, 3000, 10_000 * (number + 1))


def test_random_worlds_come_near_the_bounds():
    """So a bound that were too small by these factors would be found out by the sweep above."""
    ratios = {}
    for setting in ("two steps", "softened expert, two steps", "nearly deterministic"):
        for number, kind in enumerate(KINDS):
            for name, ratio in check(setting, kind, 200, 1000 * number).items():
                ratios[name] = max(ratio, ratios.get(name, 0))
    wanted = dict.fromkeys(bounds.of_rows(), 0.98) | dict.fromkeys(("T^2 eps",), 0.4)
    wanted |= dict.fromkeys(("sum (T-t+1) eps_t", "sum (r_t+D) eps_t"), 0.7)
    assert {name: ratio for name, ratio in ratios.items() if not wanted[name] <= ratio <= 1 + 1e-6} == {}
    assert set(ratios) == set(bounds.of_rows())


# ---- random phase ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["mixing", "nearly deterministic", "softened expert", "arbitrary expert"])
@pytest.mark.parametrize("length", [2, 3, 5])
def test_random_phase(setting, length):
    """With evidence averaged over the k offsets, eta_t <= k eps_t at every step, gap <= u k T eps.

    docs/theory.md#chunks-random-phase.
    """
    count, horizon = 200, SETTINGS[setting][0]
    rng = np.random.default_rng(length)
    problem = worlds(count, 50_000, *SETTINGS[setting])
    policy, _ = random_learners(problem, count, rng)
    phases = [schedules.row(schedules.chunked(1, schedules.starts(horizon, length, o)), 0) for o in range(length)]

    @float64
    def averaged(problem, policy):
        known = evidence.constants(problem)
        each = jax.vmap(lambda row: evidence.measure(problem, policy, row, known))(schedules.stack(phases))
        mean = jax.tree.map(lambda leaf: leaf.mean(0), each)
        return mean, bounds.random_phase(length, mean, known)

    seen, bound = float64(jax.vmap(averaged))(problem, policy)
    assert (seen.eta <= length * seen.eps + TOLERANCE).all()
    assert (seen.gap <= bound + TOLERANCE).all()
    assert (seen.eta > 1.05 * seen.eps).any()  # false without k


def test_random_phase_is_reached():
    """A learner that errs with 1e-4 in G and always in B gets stuck: docs/theory.md#the-chunk-reset-chain."""
    problem, policy = gallery.chunk_reset(2000), np.array([[[1 - 1e-4, 1e-4], [0.0, 1.0]]])
    phases = [schedules.row(schedules.chunked(1, schedules.starts(2000, 5, o)), 0) for o in range(5)]
    known = evidence.constants(problem)
    each = [evidence.measure(problem, policy, row, known) for row in phases]
    seen = jax.tree.map(lambda *leaves: np.mean(leaves, 0), *each)
    assert 0.99 < seen.gap / bounds.random_phase(5, seen, known) <= 1
    assert (seen.eta <= 5 * seen.eps + TOLERANCE).all()

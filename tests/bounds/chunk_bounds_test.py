"""The bounds of chunks on partitions of every kind; their equalities are in chunk_equalities_test.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, gallery, oracle
from dagger_jax.types import Problem

T = 8
TOLERANCE = 1e-9
SETTINGS = {  # states, actions, concentration, temperature
    "deterministic expert": (4, 2, 0.1, None),
    "stochastic expert": (4, 3, 0.2, 0.3),
    "arbitrary expert": (3, 2, 0.05, "arbitrary"),
}


drawn = jax.jit(jax.vmap(lambda key, law: schedules.drawn(key, T, law)))
growing = jax.jit(jax.vmap(lambda first, factor: schedules.growing(T, first, factor)))
forked = jax.jit(jax.vmap(lambda steps: schedules.forks(T, steps)))
phased = jax.jit(jax.vmap(lambda k, offset: schedules.starts(T, k, offset)))


def boundaries(kind, count, rng):
    """Random partitions of a kind, made by its constructor under vmap. [count, T]"""
    key = jax.vmap(jax.random.key)(rng.integers(0, 2**31, count))
    match kind:
        case "drawn":
            law = rng.dirichlet(np.full(5, 0.5), count)
            made = drawn(key, law)
        case "growing":
            made = growing(rng.uniform(1, 3, count), rng.uniform(0.9, 2.5, count))
        case "shrinking":
            made = growing(rng.uniform(3, T, count), rng.uniform(0.2, 0.9, count))
        case "forks":
            made = forked(rng.integers(1, T + 2, (count, 3)))
        case _:
            made = phased(rng.integers(1, T + 1, count), rng.integers(0, T, count))
    return np.asarray(made, float)


KINDS = ("drawn", "growing", "shrinking", "forks", "random phase")


def worlds(setting, count, rng):
    states, actions, concentration, temperature = SETTINGS[setting]
    soft = None if temperature == "arbitrary" else temperature
    seeds = rng.integers(0, 2**31, count)
    each = [gallery.random_mdp(T, states, actions, s, concentration=concentration, temperature=soft) for s in seeds]
    if temperature == "arbitrary":
        choice = rng.integers(0, actions, (count, T, states))
        each = [
            Problem(one.world, experts.deterministic(c, actions), one.name) for one, c in zip(each, choice, strict=True)
        ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def learner(problem, rng):
    """The expert, mixed with a random table. [W, T, S, A]"""
    expert = problem.expert
    share = 10.0 ** rng.uniform(-2, 0, (len(expert), 1, 1, 1)) * rng.random((len(expert), T, 1, 1))
    return (1 - share) * expert + share * rng.dirichlet(np.full(expert.shape[-1], 0.3), expert.shape[:-1])


@float64
def judge(problem, row, policy, errors):
    """Gap, slack and ratio of the sides of every bound, for the learner and two oracles. [W, 3]"""

    def one(problem, row, policy, errors):
        known = evidence.constants(problem)
        oracles = [oracle.policy(problem, row, errors, focus) for focus in ("even", "worst")]

        def of(policy):
            seen = evidence.measure(problem, policy, row, known)
            values = {name: bound.value(row, seen, known) for name, bound in bounds.of_rows().items()}
            ratio = {
                name: jnp.where(x > 1e-6, bounds.BOUNDS[name].bounded(seen) / jnp.maximum(x, 1e-6), 0.0).max()
                for name, x in values.items()
            }
            slacks = {name: bounds.slack(bound, row, seen, known) for name, bound in bounds.of_rows().items()}
            return seen.gap, slacks, ratio

        return jax.vmap(of)(jnp.stack([policy, *oracles]))

    return jax.vmap(one)(problem, row, policy, errors)


def sweep(setting, kind, count, seed):
    """No bound is violated. Returns the number of distinct partitions and the largest ratios."""
    rng = np.random.default_rng(seed)
    problem, boundary = worlds(setting, count, rng), boundaries(kind, count, rng)
    errors = 10.0 ** rng.uniform(-3, -0.5, (count, 1)) * rng.random((count, T))
    ratios = {}
    # Of a row that makes a round of each partition; both with the columns of both, for they share a program.
    rows = {"chunks": schedules.chunked(count, boundary), "reset": schedules.reset(count, boundary)}
    for variant, row in rows.items():
        row = schedules.filled(row, *rows.values())
        gap, slacks, ratio = judge(problem, row, learner(problem, rng), errors)
        assert np.abs(gap).max() > 0.1
        for name, slack in slacks.items():
            if variant in bounds.BOUNDS[name].kinds:
                assert slack.min() >= -TOLERANCE, (variant, name)
                ratios[name] = max(ratio[name].max(), ratios.get(name, 0.0))
    return len(np.unique(boundary, axis=0)), ratios


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_bound_is_violated_by_any_kind_of_partition(setting):
    """5 kinds x 120 worlds x (chunks, resets) x 3 learners: 3,600 instances; half the way to all but the crudest."""
    most = {}
    for number, kind in enumerate(KINDS):
        distinct, ratios = sweep(setting, kind, 120, number)
        assert distinct >= 8, kind
        for name, ratio in ratios.items():
            most[name] = max(ratio, most.get(name, 0.0))
    assert set(most) == set(bounds.of_rows())
    loose = ("T^2 eps", "sum (T-t+1) eps_t")
    assert {name: r for name, r in most.items() if not (0.1 if name in loose else 0.5) <= r <= 1 + 1e-6} == {}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_bound_is_violated_in_many_worlds(setting, kind):
    sweep(setting, kind, 1500, 1000)


# ---- round trips -----------------------------------------------------------------------------------------------


def paths(row, each_guide):
    """Expected summed error of the expert's steps on the path that led to (novice, guide) before each step. [T, 2]"""
    novice, guide, found = 0.0, 0.0, []
    for t in range(T):
        novice = (1 - row.back[t]) * novice + row.back[t] * guide
        guide = (1 - row.join[t]) * guide + row.join[t] * novice
        found.append((novice, guide))
        guide += each_guide[t]
    return np.array(found, float)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("coins", [False, True])
def test_round_trips(setting, coins):
    """Walkers that jump both ways: both laws are a path of the learner's and of the expert's steps.

    docs/theory.md#round-trips.

    An expert's step moves the law off the learner's own by at most the learner's error there, under the guide's
    law; a learner's step by nothing. So TV(d_pi^t, a walker's law) is at most the errors of the expert's steps on
    its path, eta_t at most that and the learner's error under that law, and the gap at most u times the sum.
    """
    rng, ratios = np.random.default_rng(7), []
    for _ in range(40):
        problem = jax.tree.map(lambda leaf: leaf[0], worlds(setting, 1, rng))
        policy = learner(jax.tree.map(lambda leaf: leaf[None], problem), rng)[0]
        kind = rng.integers(0, 3, T) * (np.arange(T) > 0)
        join, back = (np.where(kind == i, rng.random(T) if coins else 1.0, 0.0) for i in (1, 2))
        join[0] = 1.0
        row = schedules.row(schedules.validate(schedules.round_trip(1, jnp.asarray(join), jnp.asarray(back))), 0)
        laws, known = exact.play(problem, policy, row), evidence.constants(problem)
        seen = evidence.measure(problem, policy, row, known)
        alone = schedules.row(schedules.behavioural_cloning(1, T), 0)
        own = exact.play(problem, policy, alone).novice
        missed = 0.5 * np.abs(policy - problem.expert).sum(-1)
        errors = np.stack([(law * missed).sum(-1) for law in (laws.novice, laws.guide)], -1)
        np.testing.assert_allclose(seen.eps, errors.mean(-1), rtol=0, atol=1e-12)  # each with half the weight
        before = paths(jax.tree.map(np.asarray, row), errors[:, 1])
        for walker, law in enumerate((laws.novice, laws.guide)):
            variation = 0.5 * np.abs(own - law).sum(-1)
            # the columns are float32, of which the path's sum is made; the laws are float64
            assert (variation <= before[:, walker] + 1e-6).all()
            ratios.append((variation / np.maximum(before[:, walker], 1e-6))[before[:, walker] > 1e-3].max(initial=0))
            assert (seen.eta <= errors[:, walker] + before[:, walker] + 1e-6).all()
        assert seen.gap <= known.recoverability * (errors + before).mean(-1).sum() + 1e-5
    assert 0.7 < max(ratios) <= 1.001

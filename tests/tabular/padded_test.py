"""Padded worlds: arrays longer than the episode change nothing, so that one program serves every horizon.

Every row of the family, played, measured, fitted and bounded in a world of T steps and in the same world in arrays of
more: integer statistics are equal, exact values to 1e-12.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, gallery, randomness, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.bounds import costs, mixtures, statistics
from dagger_jax.controllers import AdditiveIncrease, Budget, DetectabilityBudget, Fixed
from dagger_jax.family import family
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gates, interaction, rollout, worlds

N, T, LONGER, EPISODES = 5, 6, 9, 32
SHORT = gallery.random_mdp(T, 4, 3, seed=15, temperature=0.1, concentration=0.3, observations=3)
PROBLEMS = SHORT, worlds.padded(SHORT, LONGER)
TABLES = [rollout.tables(problem) for problem in PROBLEMS]
POLICY = np.random.default_rng(3).dirichlet(np.ones(3), (LONGER, 4))
POLICIES = POLICY[:T], POLICY
ROWS = family(N, T)


def alike(short, long, *, tolerance=1e-12):
    """The padded result is the other one, and 0, or whatever nobody reads, beyond its steps."""

    def compare(short, long):
        short, long = np.asarray(short), np.asarray(long)
        assert short.ndim == long.ndim
        np.testing.assert_allclose(long[tuple(map(slice, short.shape))], short, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, short, long)


def rows(name):
    """The row of the last round, as it is and padded; `patience` is the sampler's alone."""
    both = ROWS[name], schedules.padded(ROWS[name], N + 2, LONGER)
    return [schedules.row(schedule, N - 1) for schedule in both]


@float64
def exactly(problem, policy, row, steps):
    known = evidence.constants(problem)
    seen = evidence.measure(problem, policy, row, known)
    slacks = {name: bounds.slack(bound, row, seen, known) for name, bound in bounds.of_rows().items()}
    return exact.play(problem, policy, row), known, seen._replace(steps=0), slacks, evidence.prices(row, 3, steps)


@pytest.mark.parametrize("name", ROWS)
def test_exact_laws_evidence_bounds_and_prices(name):
    row, longer = (now._replace(patience=None, copied=None) for now in rows(name))
    short, long = (exactly(*given) for given in zip(PROBLEMS, POLICIES, (row, longer), (T, np.int32(T)), strict=True))
    alike(short, long)
    assert np.asarray(long[0].novice)[T:].max() == 0  # no padded step is walked
    offsets = [
        float64(evidence.by_offset)(now, one[2].eps, one[0].overlap, T) for now, one in ((row, short), (longer, long))
    ]
    if set(np.unique(row.join)) <= {0, 1}:
        alike(offsets[0], offsets[1])


@jax.jit
def sampled(world, policy, row, takeover):
    words, episodes = randomness.Words(jnp.uint32(3), jnp.uint32(4)), jnp.arange(EPISODES, dtype=jnp.uint32)
    return rollout.play(world, policy, row, words, episodes, takeover)


@pytest.mark.parametrize("name", ROWS)
def test_roll_outs_bit_for_bit(name):
    gate = lambda problem, policy: gates.Human(0.1)(problem, None, policy, law=np.zeros(0))
    both = zip(TABLES, POLICIES, rows(name), map(gate, PROBLEMS, POLICIES), strict=True)
    short, long = (jax.device_get(sampled(*given)) for given in both)
    alike(short, long, tolerance=0)


# ---- whole runs ----------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("label", "sampling"))
def run(problem, tables, schedule, rounds, learner, gate, controller, *, label, sampling):
    key, ids = jax.random.key(7), jnp.arange(EPISODES, dtype=jnp.uint32)
    interpreter = interaction.by_sampling(tables, randomness.words(key), ids)
    if not sampling:
        interpreter = interaction.exactly(problem)

    def seen(at):
        steps = problem.world.length
        gated = None if gate is None else evidence.gated_prices(at.play, steps)
        count = lambda law: None if law is None else jnp.round(law * EPISODES).astype(int)
        play = jax.tree.map(count, at.play) if sampling else at.play
        return {"play": play, "gated": gated, "asked": at.asked, "row": at.row, "newest": at.newest}

    parts = {"label": label, "gate": gate, "controller": controller, "key": key, "rounds": rounds}
    return interaction.run(problem, schedule, learner, interpreter, measure=seen, episodes=float(EPISODES), **parts)


def runs(algorithm, sampling, controller=None):
    """A run in the world, and in the padded one with more rounds in its arrays than are done."""
    label, controller = algorithm.label, controller or algorithm.controller
    schedule = algorithm.build(N, T, 3)
    rounds = len(schedule.join)
    both = [(schedule, None), (schedules.padded(schedule, rounds + 2, LONGER), np.int32(rounds))]
    each = float64(run, static=("label", "sampling")) if not sampling else run
    for problem, tables, (table, count) in zip(PROBLEMS, TABLES, both, strict=True):
        table = schedules.filled(table, FILLED)._replace(patience=None)
        learner = algorithm.learner(problem.world, False)
        parts = problem, tables, table, count, learner, algorithm.gate, controller
        yield jax.device_get(each(*parts, label=label, sampling=sampling))


FILLED = schedules.filled(ROWS["dagger"])  # algorithms of one learner, label and gate share a program


@pytest.mark.parametrize("sampling", [False, True], ids=["exact", "sampled"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_whole_runs(name, sampling):
    short, long = runs(ALGORITHMS[name], sampling)
    # Sampled runs are fitted in float32, whose products and sums another program may fuse otherwise.
    tolerance = 1e-6 if sampling else 1e-12
    if sampling:
        for whole in ("play", "asked", "gated"):
            alike(short.measured.pop(whole), long.measured.pop(whole), tolerance=0)
    for one in (short, long):  # beyond the steps that are taken a controller's column says nothing
        one.measured["row"] = one.measured["row"]._replace(mixing_rate=None, retain=None)
    alike(short.measured, long.measured, tolerance=tolerance)
    alike(short.newest, long.newest, tolerance=tolerance)
    alike(short.acting, long.acting, tolerance=tolerance)


CONTROLLERS = [
    Fixed(4),
    DetectabilityBudget(0.2),
    DetectabilityBudget(0.2, proven=False),
    AdditiveIncrease(0.6, step=4.0),
    Budget(1.0, 0.1, 10.0, 1.0),
    Budget(1.0, 0.0, 10.0, 1.0, exact=False),
]


@pytest.mark.parametrize("controller", CONTROLLERS, ids=repr)
def test_controllers_that_no_algorithm_has(controller):
    short, long = runs(ALGORITHMS["dagger"], False, controller)
    alike(short.measured["row"].join, long.measured["row"].join, tolerance=0)
    alike(short.control, long.control)


# ---- theorems about more than one policy ----------------------------------------------------------------------------


@float64
def theorems(problem, policies, beta):
    world, played = problem.world, policies[:3]
    law, last = exact.deploy(problem, problem.expert).novice, policies[-1]
    mixed = mixtures.mixture(problem, played, policies[1:4], beta, last)
    to_go = costs.cost_to_go(problem, played, beta)
    improved = costs.improvement(problem, played, problem.expert, law)
    apart = costs.departure(problem, last, 0.3)
    ran = statistics.trajectories(problem, last)
    values = [*(each(mixed, 0.3) for each in (mixtures.smile, mixtures.smile_sharp, mixtures.searn)), ran, apart]
    values += [mixtures.searn_sharp(mixed, 0.3), mixtures.searn_regret(mixed, 0.3), costs.nrpi(improved)]
    values += [mixtures.searn_published(mixed, 0.3, world.steps), costs.nrpi_against(improved)]
    for each in (costs.aggrevate, costs.aggrevate_sharp, costs.aggrevate_signed):
        values.append(each(to_go, beta, world.steps))
    values += [each(apart, world.steps) for each in (costs.dart, costs.dart_coupled)]
    takeover = gates.Human(0.1)(problem, None, last, law)
    play = exact.frequencies(problem, exact.play(problem, last, schedules.row(dagger(world.horizon), 0), takeover))
    asked = gates.interventions(problem, last, play, takeover)
    return values, mixed._replace(steps=0), to_go, improved._replace(steps=0), asked


def dagger(horizon):
    return schedules.dagger(1, horizon, np.zeros(1))


@pytest.mark.parametrize("shared", [False, True])
def test_theorems_about_many_policies(shared):
    policies = np.random.default_rng(5).dirichlet(np.ones(3), (5, 1 if shared else LONGER, 4))
    beta = np.array([1.0, 0.3, 0.0])
    short, long = (theorems(problem, policies[:, : problem.world.horizon], beta) for problem in PROBLEMS)
    alike(short, long)

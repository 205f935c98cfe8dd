"""Which bounds speak of which row: none that is returned is violated, whatever the row and the learner."""

import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.tabular import gallery

TOLERANCE = 1e-9
T, ROUNDS, CHUNK = 5, 4, 2
PROBLEMS = [
    gallery.random_mdp(T, 4, 3, seed, concentration=0.2, temperature=temperature)
    for seed, temperature in enumerate((None, None, 0.3))
] + [gallery.cliff(T)]


def rows(algorithm):
    """What judges it, with several chunks and with one, and the rows of its training."""
    tables = [algorithm.judged_by(T, chunk) for chunk in (CHUNK, T)]
    tables += [algorithm.build(T if algorithm.per_step else ROUNDS, T, chunk) for chunk in (CHUNK, T)]
    return [schedules.row(table, n) for table in tables for n in range(len(table.mixing_rate))]


def policies(problem, seed):
    """The expert, random tables near and far from it, and one that errs wherever it can. [S or T, S, A] each"""
    rng = np.random.default_rng(seed)
    expert = np.broadcast_to(np.asarray(problem.expert), (T, *problem.expert.shape[1:]))
    drawn = rng.dirichlet(np.full(expert.shape[-1], 0.3), expert.shape[:2])
    yield "expert", expert
    yield "near", 0.98 * expert + 0.02 * drawn
    yield "far", drawn
    yield "wrong", np.eye(expert.shape[-1])[expert.argmin(-1)]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_returned_is_not_violated(name):
    for place, problem in enumerate(PROBLEMS):
        known = evidence.constants(problem)
        for which, policy in policies(problem, place):
            for row in rows(ALGORITHMS[name]):
                seen = evidence.measure(problem, policy, row, known)
                found = bounds.slacks(row, seen, known)
                assert {"u T eta", "cost to go"} <= set(found)
                assert {bound: slack for bound, slack in found.items() if not slack >= -TOLERANCE} == {}, which


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_row_that_judges_is_of_its_kind(name):
    algorithm = ALGORITHMS[name]
    kinds = bounds.kinds(schedules.row(algorithm.judged_by(T, CHUNK), 0))
    assert kinds & bounds.BOUNDS[algorithm.bound].kinds
    assert algorithm.kind in kinds or algorithm.kind == "cloning"  # some cloning rows are judged step by step


def test_kinds():
    starts = schedules.starts(T, CHUNK)
    wanted = {
        "cloning": (schedules.behavioural_cloning(1, T), {"chunks", "cloning"}),
        "chunks": (schedules.chunked(1, starts), {"chunks"}),
        "coins": (schedules.chunked(1, schedules.geometric(T, 2.0)), {"chunks"}),
        "own states": (schedules.dagger(1, T, jnp.zeros(1)), {"chunks"}),
        "resets": (schedules.reset(1, starts), {"reset"}),
        "one excursion": (schedules.reset(1, schedules.starts(T, T)), {"chunks", "reset"}),
        "round trip": (schedules.round_trip(1, starts, jnp.zeros(T).at[1].set(1.0)), {"other"}),
        "expert rolls in": (schedules.dagger(1, T), {"other"}),
        "noise": (schedules.dart(1, T, 0.1), {"other"}),
        "one label": (schedules.forward_training(T), {"other"}),
    }
    assert {name: set(bounds.kinds(schedules.row(table, 0))) for name, (table, _) in wanted.items()} == {
        name: kinds for name, (_, kinds) in wanted.items()
    }


def test_unlabelled_steps_have_no_shift():
    problem = PROBLEMS[0]
    row = schedules.row(schedules.forward_training(T), 2)
    seen = evidence.measure(problem, problem.expert, row, evidence.constants(problem))
    np.testing.assert_array_equal(seen.shift, np.zeros(T))

"""Speed of whole experiments and of the exact recursion."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import evidence, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, learners, rollout
from dagger_jax.types import Array, Problem, Schedule

from ..claim import devices
from . import study
from .timed_tokens import timed

STATES, ACTIONS, HORIZON = 100, 5, 1000


def problem(horizon: int = HORIZON) -> Problem:
    """S = 100, A = 5, dense Dirichlet transitions."""
    return gallery.random_mdp(horizon, STATES, ACTIONS, seed=0, concentration=1.0, stationary=True)


def whole(repeats: int, counts: tuple[int, ...] = (1, 64, 2048, 16384), seeds: int = 2) -> list[dict[str, Any]]:
    """Whole experiments: distinct chunk partitions x seeds in one call, each of 4 rounds of 8 episodes of 32 steps.

    One program for any partitions: its cost per experiment must not grow with how many distinct ones there are.
    """
    case = gallery.random_mdp(32, 8, 3, seed=1, stationary=True)
    tables = rollout.tables(case)
    learner = learners.tabular(case.world, learners.Majority(), shared=True)
    ids = jnp.arange(8, dtype=jnp.uint32)
    keys = jax.random.split(jax.random.key(0), seeds)

    def one(schedule: Schedule, key: Array) -> Array:
        interpreter = interaction.by_sampling(tables, randomness.words(key), ids)
        return interaction.run(case, schedule, learner, interpreter).newest

    by_seed = jax.vmap(one, in_axes=(None, 0))
    program = devices.jit(lambda rows, keys: devices.over_devices(jax.vmap(lambda row: by_seed(row, keys)))(rows))
    measured = []
    for count in counts:
        rng = np.random.default_rng(count)
        starts = jnp.asarray(np.c_[np.ones((count, 1)), rng.random((count, 31)) < rng.random((count, 1))])
        batch = jax.vmap(lambda starts: schedules.chunked(4, starts))(starts)
        compiling, running = timed(program, batch, keys, repeats=repeats)
        measured.append(
            {
                "partitions": count,
                "seeds": seeds,
                "experiments_per_second": count * seeds / running,
                "steps_per_second": count * seeds * 4 * 8 * 32 * 2 / running,
                "compile_seconds": compiling,
            }
        )
    return measured


def sweep(repeats: int, worlds: int = 16, partitions: int = 256) -> list[dict[str, Any]]:
    """The exact recursion: (world, schedule, step) cells per second, each world under each distinct chunk partition.

    Of the laws alone, and of all evidence that bounds are made of, the worlds' constants included.
    """
    horizon, states, actions = 32, 4, 3
    batch = study.stacked([gallery.random_mdp(horizon, states, actions, seed=seed) for seed in range(worlds)])
    rng = np.random.default_rng(0)
    policies = rng.dirichlet(np.ones(actions), (worlds, horizon, states))
    starts = np.c_[np.ones((partitions, 1)), rng.random((partitions, horizon - 1)) < rng.random((partitions, 1))]
    rows = schedules.stack([schedules.row(schedules.chunked(1, each), 0) for each in starts])

    def laws(problem: Problem, policy: Array, rows: Schedule) -> Array:
        return jax.vmap(lambda row: exact.play(problem, policy, row).novice_cost)(rows)

    def judged(problem: Problem, policy: Array, rows: Schedule) -> evidence.Evidence:
        known = evidence.constants(problem)
        return jax.vmap(lambda row: evidence.measure(problem, policy, row, known))(rows)

    measured = []
    for name, one in {"laws": laws, "evidence": judged}.items():
        program = float64(jax.vmap(one, in_axes=(0, 0, None)))
        compiling, running = timed(program, batch, policies, rows, repeats=repeats)
        cells = worlds * partitions * horizon
        facts = {"what": name, "worlds": worlds, "schedules": partitions, "steps": horizon}
        facts |= {"states": states, "actions": actions}
        measured.append(facts | {"cells_per_second": cells / running, "compile_seconds": compiling})
    return measured

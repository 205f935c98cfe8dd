"""Speed of the sampler and of whole experiments, against what everyone writes first."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import randomness, schedules
from dagger_jax.tabular import gallery, interaction, learners, rollout
from dagger_jax.types import Array, Problem, Schedule, World

from .timed_tokens import timed

STATES, ACTIONS, HORIZON = 100, 5, 1000


def problem(horizon: int = HORIZON) -> Problem:
    """S = 100, A = 5, dense Dirichlet transitions."""
    return gallery.random_mdp(horizon, STATES, ACTIONS, seed=0, concentration=1.0, stationary=True)


def naive(world: World, policy: Array, key: Array, episodes: int) -> Array:
    """The plain roll-out: vmap over episodes, scan over steps, `jax.random.categorical` twice a step. Costs [B]."""
    chances, moves = jnp.log(jnp.asarray(policy[0])), jnp.log(jnp.asarray(world.transition[0]))
    cost = jnp.asarray(world.cost[0], jnp.float32)

    def episode(key: Array) -> Array:
        def step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
            state, total = carry
            act, move = jax.random.split(key)
            action = jax.random.categorical(act, chances[state])
            return (jax.random.categorical(move, moves[state, action]), total + cost[state, action]), None

        first, rest = jax.random.split(key)
        start = jax.random.categorical(first, jnp.log(jnp.asarray(world.initial)))
        return jax.lax.scan(step, (start, jnp.float32(0)), jax.random.split(rest, world.horizon))[0][1]

    return jax.vmap(episode)(jax.random.split(key, episodes))


def sampler(batches: Sequence[int], limit: int, repeats: int) -> list[dict[str, Any]]:
    """Environment steps per second of each way to roll out, walkers counted apart."""
    case = problem()
    tables = rollout.tables(case)
    policy = np.random.default_rng(0).dirichlet(np.ones(ACTIONS), (1, STATES))
    row = schedules.row(schedules.chunked(1, schedules.starts(HORIZON, 10)), 0)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    measured = []
    for batch in batches:
        ids = jnp.arange(batch, dtype=jnp.uint32)

        def play(ids: Array, alone: bool, visits: bool) -> Any:
            seen, episodes = rollout.play(tables, policy, row, key, ids, alone=alone)
            return (seen, episodes) if visits else episodes.novice_cost

        programs: dict[str, tuple[int, Callable[..., Any], Any]] = {
            "one walker, costs": (1, jax.jit(lambda ids: play(ids, True, False)), ids),
            "one walker, costs and labels": (1, jax.jit(lambda ids: play(ids, True, True)), ids),
            "two walkers, costs and labels": (2, jax.jit(lambda ids: play(ids, False, True)), ids),
        }
        if batch <= limit:
            baseline = jax.jit(lambda key, batch=batch: naive(case.world, policy, key, batch))
            programs = {"naive": (1, baseline, jax.random.key(0))} | programs
        base = None
        for name, (walkers, program, argument) in programs.items():
            compiling, running = timed(program, argument, repeats=repeats)
            speed = walkers * batch * HORIZON / running
            base = speed if name == "naive" else base
            ratio = None if base is None else speed / base
            measured.append(
                {
                    "what": name,
                    "batch": batch,
                    "steps_per_second": speed,
                    "ratio": ratio,
                    "compile_seconds": compiling,
                }
            )
    return measured


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

    program = jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None)))
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

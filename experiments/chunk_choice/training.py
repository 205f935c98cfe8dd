"""Chunked DAgger trained under any schedule or controller, and judged exactly after every round."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import bounds, evidence, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, labels, learners, planning, rollout
from dagger_jax.types import Array, Problem, Schedule

from ..claim import devices


@functools.partial(devices.jit, static_argnames=("label", "episodes", "shared"))
def train(
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    controller: Any,
    gate: Any,
    keys: Array,
    *,
    label: labels.Label,
    episodes: int,
    shared: bool,
) -> tuple[Array, Schedule, Array, Array, Array]:
    """Policies [R, N, L, S, A] after each round; the rows [R, N, T] that were played; hand-overs and labels an
    episode [R, N]; and, with patience, how often the walkers had parted before a step of the same chunk [R, N], which
    is T_j averaged over steps.

    A label on the novice's walk is a hand-over of its own, as is the start of a chunk that is labelled.
    """
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(problem: Problem, sampler: rollout.Tables, key: Array) -> Any:
        learner = learners.tabular(problem.world, learners.Majority(), shared)
        words = randomness.words(key)

        def record(moment: interaction.Moment) -> tuple[Any, ...]:
            row = moment.row
            if schedule.patience is None:
                calls = evidence.prices(row._replace(label_novice=0 * row.label_novice)).handovers
                on_novice = moment.asked - (row.label_guide > 0).sum()
                return moment.newest, row, calls + on_novice, moment.asked, jnp.zeros(())
            # Played once more for what `Occupancy` does not say; XLA merges it with the round where it is the same.
            round_key = randomness.for_round(words, moment.round)
            kept = rollout.play(sampler, moment.acting, row, round_key, ids)[1]
            seen = rollout.trace(sampler, moment.newest, row, round_key, ids)
            together, joined = jnp.asarray(seen.together), jnp.asarray(seen.joined)
            before = jnp.concatenate([jnp.ones_like(together[:1]), together[:-1]])
            return moment.newest, row, kept.chunks.mean(), moment.asked, (~before & ~joined).mean()

        interpreter = interaction.by_sampling(sampler, words, ids)
        return interaction.run(
            problem,
            schedule,
            learner,
            interpreter,
            label=label,
            measure=record,
            controller=controller,
            gate=gate,
            episodes=float(episodes),
        ).measured

    return devices.over_devices(jax.vmap(one))(problems, samplers, keys)


@float64
def judge(problems: Problem, policies: Array, rows: Schedule) -> tuple[Array, Array]:
    """Exact gap, and `evidence.detectability` under the round's row, of every policy. [R, N] each; nan with `back`."""

    def one(problem: Problem, policy: Array, row: Schedule) -> tuple[Array, Array]:
        deployed = exact.deploy(problem, policy)
        row = schedules.filled(row._replace(beta=0 * row.beta, patience=None))
        seen = evidence.detectability(row, exact.play(problem, policy, row).overlap)
        return deployed.novice_cost - deployed.guide_cost, jnp.where((row.back > 0).any(), jnp.nan, seen)

    each_round = jax.vmap(one, in_axes=(None, 0, 0))
    return jax.vmap(each_round)(problems, policies, rows)


class Priced(NamedTuple):
    """What partitions of a policy's episodes cost, for its errors by step on its own states."""

    best: Callable[[Array], planning.Partition]  # (price of a hand-over) -> the best partition
    price: Callable[[Array, Array], Array]  # (chunk starts [T], price of a hand-over) -> hand-over cost plus bound


def priced(problem: Problem, policy: Array) -> Priced:
    """Measures the policy once, and prices any partition by it."""
    known = evidence.constants(problem)
    row = schedules.row(schedules.chunked(1, schedules.starts(problem.world.horizon, 1)), 0)
    seen = evidence.measure(problem, policy, row, known)
    return Priced(
        lambda cost: planning.optimal_partition(seen.eps, known.recoverability, known.span, cost),
        lambda starts, cost: cost * starts.sum() + bounds.chunk_combined(row._replace(join=starts * 1.0), seen, known),
    )


@float64
def over_best(problems: Problem, policies: Array, starts: Array, cost: Any) -> Array:
    """Hand-over cost plus bound of chunks [R, T], relative to the best partition for the same policies' errors. [R]"""

    def one(problem: Problem, policy: Array, starts: Array) -> Array:
        partitions = priced(problem, policy)
        return partitions.price(starts, cost) / partitions.best(cost).value

    return jax.vmap(one)(problems, policies, starts)


@float64
def plan(problems: Problem, policies: Array, costs: Array) -> tuple[Array, Array]:
    """Hand-over cost plus bound of the best partition and of the best equal chunks, by cost [P]. [R, P] each"""

    def one(problem: Problem, policy: Array) -> tuple[Array, Array]:
        partitions, horizon = priced(problem, policy), problem.world.horizon
        equal = schedules.starts(horizon, np.arange(1, horizon + 1))

        def at(cost: Array) -> tuple[Array, Array]:
            best = partitions.price(partitions.best(cost).starts, cost)
            return best, jax.vmap(lambda starts: partitions.price(starts, cost))(equal).min()

        return jax.vmap(at)(costs)

    return jax.vmap(one)(problems, policies)

"""Chunked DAgger trained under any schedule or controller, and judged exactly after every round."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dagger_jax import bounds, evidence, exact, interaction, labels, learners, planning, randomness, rollout, schedules
from dagger_jax.precision import exact as precisely
from dagger_jax.types import Array, Problem, Schedule


@functools.partial(jax.jit, static_argnames=("label", "episodes", "shared"))
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
            # Played once more for what `Play` does not say; XLA merges it with the round where it is the same.
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

    return jax.vmap(one)(problems, samplers, keys)


@precisely
def judge(problems: Problem, policies: Array, rows: Schedule) -> tuple[Array, Array]:
    """Exact gap, and `evidence.detectability` under the round's row, of every policy. [R, N] each; nan with `back`."""

    def one(problem: Problem, policy: Array, row: Schedule) -> tuple[Array, Array]:
        horizon = problem.world.horizon
        deployed = exact.play(problem, policy, schedules.row(schedules.behavioural_cloning(1, horizon), 0))
        row = row._replace(beta=0 * row.beta, patience=None)
        seen = evidence.detectability(row, exact.play(problem, policy, row).agreement)
        return deployed.novice_cost - deployed.guide_cost, jnp.where((row.back > 0).any(), jnp.nan, seen)

    each_round = jax.vmap(one, in_axes=(None, 0, 0))
    return jax.vmap(each_round)(problems, policies, rows)


@precisely
def over_best(problems: Problem, policies: Array, starts: Array, cost: Any) -> Array:
    """Hand-over cost plus bound of chunks [R, T], relative to the best partition for the same policies' errors. [R]"""

    def one(problem: Problem, policy: Array, starts: Array) -> Array:
        known = evidence.constants(problem)
        row = schedules.row(schedules.chunked(1, schedules.starts(problem.world.horizon, 1)), 0)
        seen = evidence.measure(problem, policy, row, known)
        best = planning.optimal_partition(seen.eps, known.recoverability, known.span, cost).value
        return (cost * starts.sum() + bounds.chunk_combined(row._replace(join=starts), seen, known)) / best

    return jax.vmap(one)(problems, policies, starts)


@precisely
def plan(problems: Problem, policies: Array, costs: Array) -> tuple[Array, Array]:
    """Hand-over cost plus bound of the best partition and of the best equal chunks, by cost [P]. [R, P] each"""

    def one(problem: Problem, policy: Array) -> tuple[Array, Array]:
        horizon = problem.world.horizon
        known = evidence.constants(problem)
        row = schedules.row(schedules.chunked(1, schedules.starts(horizon, 1)), 0)
        eps = evidence.measure(problem, policy, row, known).eps

        def price(starts: Array, cost: Array) -> Array:
            seen = evidence.measure(problem, policy, row, known)
            return cost * starts.sum() + bounds.chunk_combined(row._replace(join=starts * 1.0), seen, known)

        def at(cost: Array) -> tuple[Array, Array]:
            best = planning.optimal_partition(eps, known.recoverability, known.span, cost)
            equal = jax.vmap(lambda k: price(schedules.starts(horizon, k), cost))(jnp.arange(1, horizon + 1))
            return price(best.starts, cost), equal.min()

        return jax.vmap(at)(costs)

    return jax.vmap(one)(problems, policies)

"""Any row of the zoo trained on sampled labels in a batch of problems, priced, and judged exactly after every round."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import evidence, exact, interaction, randomness, rollout
from dagger_jax.algorithms import Algorithm
from dagger_jax.precision import exact as precisely
from dagger_jax.types import Array, Problem, Schedule


class Trained(NamedTuple):
    """R runs of N rounds. The stack of policies takes R N L S A floats: the rounds asked for bound it."""

    newest: Array  # [R, N, L, S, A] fitted after each round
    acting: Array  # [R, N, L, S, A] the mixture after each round
    rows: Schedule  # [R, N, T] as they were played
    labels: Array  # [R, N] per episode of the round, as all prices
    handovers: Array  # [R, N] hand-overs, or interventions of a gate
    switches: Array  # [R, N] times the expert took or gave the wheel; twice the hand-overs where there is no gate
    expert_steps: Array  # [R, N] steps that the expert acted, its roll-outs included


def train(
    algorithm: Algorithm,
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    keys: Array,
    *,
    episodes: int,
    shared: bool,
) -> Trained:
    """Trains one row of the zoo, with its label, learner, gate and controller.

    Args:
      algorithm: the row.
      problems: a batch of R, stacked.
      samplers: theirs, from `rollout.tables`, stacked.
      schedule: [N, T], the same for all, or [R, N, T], one a run.
      keys: [R].
      episodes: a round.
      shared: one table for all steps.
    """
    # One table's sizes are those of all: the learner is built from the first problem's shapes.
    learner = algorithm.learner(jax.tree.map(lambda leaf: leaf[0], problems.world), shared)
    if schedule.beta.ndim == 2:
        schedule = jax.tree.map(lambda column: jnp.broadcast_to(column, (keys.shape[0], *column.shape)), schedule)
    return _train(
        problems,
        samplers,
        schedule,
        learner,
        algorithm.gate,
        algorithm.controller,
        keys,
        label=algorithm.label,
        episodes=episodes,
    )


@functools.partial(jax.jit, static_argnames=("label", "episodes"))
def _train(
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    learner: Any,
    gate: Any,
    controller: Any,
    keys: Array,
    *,
    label: Any,
    episodes: int,
) -> Trained:
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def record(moment: interaction.Moment) -> Trained:
        row, mixture = moment.row, moment.acting
        after = (1 - row.rate) * mixture + row.rate * moment.newest
        if gate is None:
            asked = evidence.prices(row)
            return Trained(moment.newest, after, row, asked.labels, asked.handovers, 2 * asked.handovers, asked.steps)
        asked = evidence.gated_prices(moment.play)
        return Trained(moment.newest, after, row, asked.labels, asked.interventions, asked.switches, asked.labels)

    def one(problem: Problem, sampler: rollout.Tables, schedule: Schedule, key: Array) -> Trained:
        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids)
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
            key=key,
        ).measured

    return jax.vmap(one)(problems, samplers, schedule, keys)


@precisely
def gaps(problems: Problem, policies: Array) -> Array:
    """Exact J(pi) - J(pi*) of policies [R, N, L, S, A] in problems [R]. [R, N]"""

    def one(problem: Problem, policy: Array) -> Array:
        deployed = exact.deploy(problem, policy)
        return deployed.novice_cost - deployed.guide_cost

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(problems, policies)


@precisely
def own_losses(problems: Problem, policies: Array) -> Array:
    """Mean disagreement with the expert under each policy's own law. Shapes as in `gaps`."""

    def one(problem: Problem, policy: Array) -> Array:
        missed = 0.5 * jnp.abs(policy - problem.expert).sum(-1)
        return (exact.deploy(problem, policy).novice * missed).sum() / problem.world.horizon

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(problems, policies)


def output_gaps(algorithm: Algorithm, problems: Problem, trained: Trained) -> np.ndarray:
    """The gap of what the algorithm would return after each round. [R, N]

    "last": the policy just fitted. "acting": the mixture without the expert. "mixture": one of the rounds' policies,
    drawn uniformly and run for the episode. "best": the one of least disagreement on its own states so far, measured
    exactly.
    """
    found = gaps(problems, trained.acting if algorithm.output == "acting" else trained.newest)
    rounds = np.arange(1, found.shape[1] + 1)
    match algorithm.output:
        case "mixture":
            return np.cumsum(found, axis=1) / rounds
        case "best":
            losses = own_losses(problems, trained.newest)
            best = np.array([[run[:n].argmin() for n in rounds] for run in losses])
            return np.take_along_axis(found, best, axis=1)
    return np.asarray(found)

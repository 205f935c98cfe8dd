"""The exact interpreter: the laws of both walkers, by one forward recursion in float64.

It reads the same table as `rollout` and yields the same `Play`, without sampling. Both walkers jump only to
each other's state, so their marginal laws are enough, and a jump by an independent coin is a mixture.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import schedules
from dagger_jax.environments.tabular import at
from dagger_jax.precision import exact
from dagger_jax.schedules import training_weights
from dagger_jax.types import Array, Play, Problem, Schedule

React = Callable[[Any, Array], Array]


class Laws(NamedTuple):
    """Everything the forward recursion knows of one round."""

    novice: Array  # [T, S] law of the novice's state at each step
    guide: Array  # [T, S] law of the guide's state
    last: Array  # [S] law of the novice's state after step T
    policy: Array  # [T, S, A] the learner's action probabilities
    agreement: Array  # [T] probability that the walkers' actions agreed from the chunk's start through step t
    novice_cost: Array  # [] expected total cost of the novice
    guide_cost: Array  # [] expected total cost of the guide


class Walkers(NamedTuple):
    """Carried from step to step."""

    novice: Array  # [S]
    guide: Array  # [S]
    agreed: Array  # [S] guide's state and: no disagreement since the chunk began
    novice_cost: Array
    guide_cost: Array


def forward(problem: Problem, row: Schedule, react: React, behaviour: Any) -> Laws:
    """Both walkers' laws where the learner's policy at a step may depend on the training law there.

    Args:
      problem: the world and its expert.
      row: one row of a schedule, columns [T].
      react: (behaviour of this step, training law [S]) -> the learner's action probabilities [S, A].
      behaviour: pytree with leading axis T, handed to `react` step by step.

    Raises:
      ValueError: a row with `patience`: where its chunks end depends on both walkers' paths together, of which
        this recursion knows the marginal laws only. Use `rollout`.

    `agreement` couples the two actions maximally at every step. So 1 - agreement is the total variation
    between the guide's and the novice's chunk, from its start through step t, exactly for a deterministic
    expert (theory 7.5) and at least that for a stochastic one.
    """
    if row.patience is not None:
        raise ValueError("schedule.patience makes chunk lengths depend on states: only rollout can play it")
    world, actions = problem.world, problem.world.actions

    def beat(walkers: Walkers, xs: tuple[Array, Schedule, Array, Any]) -> tuple[Walkers, tuple]:
        step, now, weights, behaves = xs
        expert, cost = at(problem.expert, step), at(world.cost, step)

        # Jumps first: the chunk that starts here starts where the other walker is.
        novice = (1 - now.back) * walkers.novice + now.back * walkers.guide
        guide = (1 - now.join) * walkers.guide + now.join * walkers.novice
        agreed = (1 - now.join - now.back) * walkers.agreed + now.join * walkers.novice + now.back * walkers.guide

        learner = react(behaves, weights[0] * novice + weights[1] * guide)
        novice_acts = now.beta * expert + (1 - now.beta) * learner
        guide_acts = (1 - now.noise) * expert + now.noise / actions

        novice_moves, guide_moves = novice[:, None] * novice_acts, guide[:, None] * guide_acts
        agreed_moves = agreed[:, None] * jnp.minimum(novice_acts, guide_acts)
        leave = at(world.transition, step).reshape(-1, world.states)
        next_novice, next_guide, next_agreed = (
            moves.reshape(-1) @ leave for moves in (novice_moves, guide_moves, agreed_moves)
        )
        following = Walkers(
            next_novice,
            next_guide,
            next_agreed,
            walkers.novice_cost + (novice_moves * cost).sum(),
            walkers.guide_cost + (guide_moves * cost).sum(),
        )
        return following, (novice, guide, learner, agreed_moves.sum())

    start = jnp.asarray(world.initial)
    row = jax.tree.map(lambda column: jnp.asarray(column, start.dtype), row)
    zero = jnp.zeros((), start.dtype)
    weights = jnp.stack(training_weights(row), axis=-1)
    xs = (jnp.arange(world.horizon), row._replace(rate=None, keep=None), weights, behaviour)
    end, (novice, guide, policy, agreement) = jax.lax.scan(beat, Walkers(start, start, start, zero, zero), xs)
    return Laws(novice, guide, end.novice, policy, agreement, end.novice_cost, end.guide_cost)


@exact
def play(problem: Problem, policy: Array, row: Schedule) -> Laws:
    """Both walkers' laws when the learner acts by a fixed `policy` [L, S, A]. See `forward`."""
    fixed = jnp.broadcast_to(policy, (problem.world.horizon, *policy.shape[1:]))
    return forward(problem, row, lambda probabilities, law: probabilities, fixed)


def deploy(problem: Problem, policy: Array) -> Laws:
    """The learner alone as the novice, the expert alone as the guide, both from the start of the episode."""
    return play(problem, policy, schedules.row(schedules.behavioural_cloning(1, problem.world.horizon), 0))


def frequencies(problem: Problem, laws: Laws) -> Play:
    """The `Play` that infinitely many episodes would show."""
    novice, guide = (law[..., None] * problem.expert for law in (laws.novice, laws.guide))
    return Play(novice, guide, laws.agreement)

"""The exact interpreter: the laws of both walkers, by one forward recursion in float64.

It reads the same table as `rollout` and yields the same `Occupancy`, without sampling. Both walkers jump only to
each other's state, so their marginal laws are enough, and a jump by an independent coin is a mixture.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dagger_jax import loops, schedules
from dagger_jax.precision import float64
from dagger_jax.schedules import training_weights
from dagger_jax.tabular.transitions import at, push
from dagger_jax.types import Array, Intervention, Occupancy, Problem, Schedule

React = Callable[[Any, Array], Array]


class Laws(NamedTuple):
    """Everything the forward recursion knows of one round."""

    novice: Array  # [T, S] law of the novice's state at each step
    guide: Array  # [T, S] law of the guide's state
    last: Array  # [S] law of the novice's state after step T
    policy: Array  # [T, S, A] the learner's action probabilities
    agreement: Array  # [T] probability that the walkers acted alike from the chunk's start through step t
    overlap: Array  # [T] the same if their actions were coupled maximally: 1 - overlap bounds the chunk's distance
    novice_cost: Array  # [] expected total cost of the novice
    guide_cost: Array  # [] expected total cost of the guide
    intervened: Array | None = None  # [T, S] law of the novice's state, and: the expert has taken over; None: no gate
    entered: Array | None = None  # [T] probability that it takes over at this step


class Walkers(NamedTuple):
    """Carried from step to step. M: is the learner (0) or the expert (1) in control; 1 without a gate."""

    novice: Array  # [M, S]
    guide: Array  # [S]
    agreed: Array  # [M, 2, S] guide's state and: no disagreement since the chunk began, as played and at most
    novice_cost: Array
    guide_cost: Array


def forward(
    problem: Problem, row: Schedule, react: React, behaviour: Any, takeover: Intervention | None = None
) -> Laws:
    """Both walkers' laws where the learner's policy at a step may depend on the training law there.

    Args:
      problem: the world and its expert.
      row: one row of a schedule, columns [T].
      react: (behaviour of this step, training law [S]) -> the learner's action probabilities [S, A].
      behaviour: pytree with leading axis T, handed to `react` step by step.
      takeover: where a gate lets the expert take over the novice's walk; None: nowhere.

    Raises:
      ValueError: a row with `patience`: where its chunks end depends on both walkers' paths together, of which
        this recursion knows the marginal laws only. Use `rollout`.

    `agreement` is of the walkers as the sampler plays them, by one word through the inverse of either cumulative law,
    which shows how often they part. `overlap` couples the two actions maximally at every step. So 1 - overlap is the
    total variation between the guide's and the novice's chunk, from its start through step t, exactly for a
    deterministic expert without noise, where both are the same, and at least that for others.
    agreement <= overlap. docs/theory.md#detectability-total-variation.
    """
    if row.patience is not None:
        raise ValueError("schedule.patience makes chunk lengths depend on states: only rollout can play it")
    if row.copied is not None:
        raise ValueError(
            "schedule.copied couples the walkers' actions by a coin of their own: only rollout can play it"
        )
    world, actions = problem.world, problem.world.actions
    controls = 1 if takeover is None else 2

    def advance(walkers: Walkers, xs: tuple[Array, Schedule, Array, Any, Any]) -> tuple[Walkers, tuple]:
        step, now, weights, behaves, gate = xs
        expert, cost = at(problem.expert, step), at(world.cost, step)

        # Jumps first: the chunk that starts here starts where the other walker is.
        returned = jnp.stack([walkers.guide, 0 * walkers.guide][:controls])  # the learner begins an excursion
        novice = _mixed(now.back, returned, walkers.novice)
        guide = _mixed(now.join, walkers.novice.sum(0), walkers.guide)
        met, stays = now.join * walkers.novice, 1 - now.join
        if now.back is not None:
            met, stays = met + now.back * returned, stays - now.back
        agreed = stays * walkers.agreed + met[:, None]
        entered = None
        if gate is not None:
            entered = (novice[0] * gate.enter).sum()
            novice, agreed = (_relieve(law, gate) for law in (novice, agreed))

        learner = react(behaves, weights[0] * novice.sum(0) + weights[1] * guide)
        blend = _mixed(now.beta, expert, learner)
        novice_acts = jnp.stack([blend] if gate is None else [blend, gate.acts * expert + (1 - gate.acts) * blend])
        any_action = jnp.full_like(expert, 1 / actions)
        guide_acts = _mixed(now.noise, any_action, expert)
        # The coin of the noise is of another word, the action that it brings of the same.
        alike = _mixed(now.noise, _common(novice_acts, any_action), _common(novice_acts, expert))
        both = jnp.stack([alike, jnp.minimum(novice_acts, guide_acts)], axis=1)

        novice_moves, guide_moves = novice[..., None] * novice_acts, guide[:, None] * guide_acts
        agreed_moves = agreed[..., None] * both
        leave = at(world.transition, step)
        next_novice, next_guide, next_agreed = (push(leave, m) for m in (novice_moves, guide_moves, agreed_moves))
        following = Walkers(
            next_novice,
            next_guide,
            next_agreed,
            walkers.novice_cost + (novice_moves * cost).sum(),
            walkers.guide_cost + (guide_moves * cost).sum(),
        )
        intervened = None if gate is None else novice[1]
        return following, (novice.sum(0), guide, learner, *agreed_moves.sum((0, 2, 3)), intervened, entered)

    start = jnp.asarray(world.initial)
    row = jax.tree.map(lambda column: jnp.asarray(column, start.dtype), row)
    zero = jnp.zeros((), start.dtype)
    weights = jnp.stack(training_weights(row), axis=-1)
    by_step = None
    if takeover is not None:
        acts = jnp.broadcast_to(jnp.asarray(takeover.acts, start.dtype), world.horizon)
        by_step = takeover._replace(acts=acts)
    moves = Schedule(row.join, row.beta, row.back, noise=row.noise)
    xs = (jnp.arange(world.horizon), moves, weights, behaviour, by_step)
    by_learner = jnp.concatenate([start[None], jnp.zeros((controls - 1, *start.shape), start.dtype)])
    walkers = Walkers(by_learner, start, jnp.stack([by_learner] * 2, axis=1), zero, zero)
    end, (novice, guide, policy, agreement, overlap, *gated) = loops.scan(advance, walkers, xs, world.length)
    return Laws(novice, guide, end.novice.sum(0), policy, agreement, overlap, end.novice_cost, end.guide_cost, *gated)


def _mixed(share: Array | None, first: Array, second: Array) -> Array:
    """`share` of the first, the rest of the second; None: the second."""
    return second if share is None else share * first + (1 - share) * second


def _common(first: Array, second: Array) -> Array:
    """Probability that one word picks this action from both laws: its parts of [0, 1] in either overlap. [..., A]"""
    (low, high), (begin, end) = ((jnp.cumsum(law, -1) - law, jnp.cumsum(law, -1)) for law in (first, second))
    return jnp.maximum(jnp.minimum(high, end) - jnp.maximum(low, begin), 0.0)


def _relieve(law: Array, gate: Intervention) -> Array:
    """The law [2, ..., S] after the expert has taken over and handed back."""
    intervened = gate.enter * law[0] + (1 - gate.leave) * law[1]
    return jnp.stack([law.sum(0) - intervened, intervened])


@float64
def play(problem: Problem, policy: Float[Array, "L S A"], row: Schedule, takeover: Intervention | None = None) -> Laws:
    """Both walkers' laws when the learner acts by a fixed `policy` [L, S, A]. See `forward`."""
    fixed = jnp.broadcast_to(policy, (problem.world.horizon, *policy.shape[1:]))
    return forward(problem, row, lambda probabilities, law: probabilities, fixed, takeover)


def deploy(problem: Problem, policy: Float[Array, "L S A"]) -> Laws:
    """The learner alone as the novice, the expert alone as the guide, both from the start of the episode."""
    return play(problem, policy, schedules.row(schedules.behavioural_cloning(1, problem.world.horizon), 0))


def frequencies(problem: Problem, laws: Laws) -> Occupancy:
    """The `Occupancy` that infinitely many episodes would show."""
    novice, guide = (law[..., None] * problem.expert for law in (laws.novice, laws.guide))
    intervened = None if laws.intervened is None else laws.intervened[..., None] * problem.expert
    return Occupancy(novice, guide, laws.agreement, intervened, laws.entered)

"""Oracle learners: the worst learner of a stated training error.

The theorems speak of a training error eps, which a fitted learner drives to zero. An oracle errs with exactly
eps_t under the training law of step t, and does the expert's worst wherever training never goes: there no
label speaks against it. Its policy at t depends on its own earlier steps, so it is built by the forward
recursion itself.
"""

from typing import Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dagger_jax import ties
from dagger_jax.checks import namespace
from dagger_jax.precision import float64
from dagger_jax.schedules import filled, training_weights
from dagger_jax.tabular import exact
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Array, Problem, Schedule

Placement = Literal["uniform", "first", "last", "start"]
Focus = Literal["even", "worst"]


def placement(boundary: Array, eps: float, where: Placement) -> np.ndarray:
    """Training errors eps_t [T] of average eps: the same at every step, or all of a chunk's at one of its steps.

    Args:
      boundary: [T] where chunks start, entries 0 or 1 (`row.join`, or `row.back` with 1 at step 0).
      eps: average error a step, in [0, 1].
      where: "uniform"; "first" or "last" step of each chunk of k steps, which then errs with k eps; or
        "start": all T eps in the first step of the episode.

    Raises:
      ValueError: eps outside [0, 1], or an error above 1 at a step.
    """
    if not 0 <= eps <= 1:
        raise ValueError(f"eps must lie in [0, 1], got {eps}")
    boundary = np.asarray(boundary) > 0
    horizon = len(boundary)
    first = np.flatnonzero(boundary | (np.arange(horizon) == 0))
    lengths = np.diff(np.append(first, horizon))
    errors = np.zeros(horizon)
    match where:
        case "uniform":
            errors[:] = eps
        case "first":
            errors[first] = lengths * eps
        case "last":
            errors[first + lengths - 1] = lengths * eps
        case "start":
            errors[0] = horizon * eps
    if errors.max() > 1:
        raise ValueError(f"eps {eps} placed {where!r} needs an error of {errors.max():g} at one step: above 1")
    return errors


def policy(problem: Problem, row: Schedule, errors: Array, focus: Focus = "even") -> Array:
    """The oracle learner of a problem under one row of a schedule. [T, S, A]

    Args:
      problem: the world and its expert.
      row: columns [T]; must ask a label at every step, for its labels define the training law.
      errors: eps_t [T], total variation from the expert under the training law of step t.
      focus: "even" errs alike in all states of the training law, "worst" in the costliest first.

    Returns:
      The policy; pure, so that it may be vmapped (inside `precision.exact`).

    Raises:
      ValueError: a step that asks no label, or an error that no action makes (not checked inside vmap).

    Errors are by state: an oracle sees the state, also where the learner's observation does not tell it. Where the
    law has no mass, the action of greatest cost-to-go is taken. An error takes the costliest action
    that the expert would not take for certain. Costs that are equal but for rounding (`ties.TIE`) go by the index.
    """
    row = filled(row)
    asked = row.label_guide + row.label_novice
    steps = problem.world.steps
    if namespace(asked, steps) is np and not np.all(np.asarray(asked)[:steps] > 0):
        raise ValueError("an oracle's error is stated under the training law: every step must ask a label")
    made, achieved = _policy(problem, row, errors, focus=focus)
    if not isinstance(achieved, jax.core.Tracer) and (off := np.argwhere(np.abs(achieved - errors) > 1e-9)).size:
        step = int(off[0, 0])
        raise ValueError(
            f"an error of {errors[step]:g} at step {step} cannot be made: {achieved[step]:g} is the most, as far "
            "from this expert as its costliest action is"
        )
    return made


def _build(problem: Problem, row: Schedule, errors: Array, *, focus: Focus) -> tuple[Array, Array]:
    to_go, value = backward(problem.world, problem.expert)
    expert = jnp.broadcast_to(problem.expert, to_go.shape)
    wrong = ties.first_greatest(jnp.where(expert < 1, to_go, -jnp.inf), ties.TIE)
    harm = jnp.take_along_axis(to_go, wrong[..., None], -1)[..., 0] - value[:-1]
    behaviour = (errors, expert, _certain(wrong, expert), _certain(ties.first_greatest(to_go, ties.TIE), expert), harm)

    def react(now: tuple[Array, ...], law: Array) -> Array:
        error, expert, wrong, worst, harm = now
        most = 1 - (wrong * expert).sum(-1)  # total variation of erring for certain
        if focus == "even":
            share = error / most
        else:
            order = ties.descending(harm, ties.TIE)
            mass = (law * most)[order]
            before = jnp.cumsum(mass) - mass
            filled = jnp.clip((error - before) / jnp.where(mass > 0, mass, 1.0), 0.0, 1.0)
            share = jnp.zeros_like(filled).at[order].set(filled)
        share = jnp.clip(share, 0.0, 1.0)[:, None]
        trained = (1 - share) * expert + share * wrong
        return jnp.where(law[:, None] > 0, trained, worst)

    laws = exact.forward(problem, row, react, behaviour)
    novice, guide = (share[:, None] for share in training_weights(row))
    missed = 0.5 * jnp.abs(laws.policy - expert).sum(-1)
    return laws.policy, ((novice * laws.novice + guide * laws.guide) * missed).sum(-1)


def _certain(action: Array, like: Array) -> Array:
    return jax.nn.one_hot(action, like.shape[-1], dtype=like.dtype)


_policy = float64(_build, static=("focus",))

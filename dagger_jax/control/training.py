"""Worlds of any kind in the outer loop: how `loop` plays and labels where nothing is a table."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax import loop, randomness
from dagger_jax.control.network import Labels
from dagger_jax.controllers import Controller, Seen
from dagger_jax.protocols import Agent, Gate, Learner, World
from dagger_jax.schedules import filled, training_weights
from dagger_jax.types import Array, Node, Schedule
from dagger_jax.walk import Step, Walkers, Whole, discrete, walk

Asked = Literal["novice", "guide", "both"]


class Task(Node):
    """A world and the expert to be imitated in it; see `protocols`."""

    world: Any
    expert: Any  # an `Agent`
    name: str = struct.field(pytree_node=False, default="world")


class Shown(NamedTuple):
    """What a round's episodes showed. Leading axes [T, B]; None: nobody was there."""

    novice: Labels  # at the novice's observations
    guide: Labels | None
    error: Array  # of the learner at the novice's
    together: Any
    ends: Walkers  # [B]


def asked(schedule: Schedule) -> Asked:
    """Whose states a schedule labels; both, where its numbers are not known."""
    row = filled(schedule)
    if isinstance(row.label_novice, jax.core.Tracer) or isinstance(row.label_guide, jax.core.Tracer):
        return "both"
    novice, guide = ((np.asarray(column) > 0).any() for column in (row.label_novice, row.label_guide))
    return "both" if novice and guide else "guide" if guide else "novice"


def needs_guide(schedule: Schedule) -> bool:
    """Whether the guide must walk: it is labelled, or the novice goes back to it or copies it."""
    return asked(schedule) != "novice" or schedule.back is not None or schedule.copied is not None


def parts(
    task: Task,
    learner: Learner,
    key: randomness.Words,
    episodes: Array,
    *,
    who: tuple[Asked, bool] = ("both", True),
    controller: Controller | None = None,
    gate: Gate | None = None,
    block: int | None = None,
) -> loop.Parts:
    """What the loop calls of a run in any world.

    Args:
      task: the world and its expert.
      learner: fits `Labels` [n], and answers with agents.
      key: of the run.
      episodes: [B] uint32, indices of a round's episodes.
      who: what the schedule's `asked` and `needs_guide` say: what nobody needs is not walked.
      controller: reads who parted: for worlds of numbered actions.
      gate: where the expert takes over.
      block: of `walk`.

    Raises:
      ValueError: a controller where actions are continuous.
    """
    if controller is not None and not discrete(task.world, task.expert):
        raise ValueError("a controller reads who parted: where actions are continuous nobody acts alike")
    labelled, alone = who[0], controller is None and not who[1]
    reduce = Whole(_see(task.world, labelled, gate is not None))

    def play(agent: Agent, row: Schedule, round: Array, takeover: Any) -> Shown:
        at = randomness.for_round(key, round)
        how: dict[str, Any] = {"takeover": takeover, "alone": alone, "reduce": reduce, "block": block}
        seen, ends = walk(task.world, task.expert, agent, row, at, episodes, **how)
        novice, guide, error, together = seen
        return Shown(novice, guide, error, together, ends)

    def label(shown: Shown, row: Schedule, agent: Agent) -> Labels:
        row = filled(row)
        asked_for = [] if labelled == "guide" else [(shown.novice, row.label_novice)]
        asked_for += [] if shown.guide is None else [(shown.guide, row.label_guide)]
        weighed = [labels._replace(weight=column[:, None] * labels.weight) for labels, column in asked_for]
        flat = lambda *leaves: jnp.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])
        return jax.tree.map(flat, *weighed)

    def seen(row: Schedule, agent: Agent, shown: Shown) -> Seen:
        novice, guide = training_weights(row)
        error = (novice + guide) * shown.error.mean(1)
        count = jnp.asarray(episodes.shape[0], jnp.float32)
        return Seen(row.join, error, shown.together.mean(1), shown.ends.novice_cost.mean(), count)

    return loop.Parts(learner, play, label, seen, gate, controller)


def _see(world: Any, who: Asked, gated: bool) -> Callable[[Step], tuple[Any, ...]]:
    """What is kept of a step [B]."""

    def view(state: Any, step: Array) -> Any:
        return jax.vmap(lambda one: world.observe(one, step))(state)

    def see(step: Step) -> tuple[Any, ...]:
        one = jnp.ones(jax.tree.leaves(step.novice)[0].shape[:1])
        weight = lambda lives: one if lives is None else one * lives
        at_novice = weight(step.lives) * (step.intervened if gated else 1.0)
        novice = Labels(view(step.novice, step.step), step.asked, at_novice)
        guide = None
        if step.guide is not None and who != "novice":
            guide = Labels(view(step.guide, step.step), step.intended, weight(step.guide_lives))
        return novice, guide, jax.vmap(lambda own, wanted: own.error(wanted))(step.own, step.wanted), step.together

    return see


def refuse(schedule: Schedule) -> None:
    """Raises ValueError for a concrete schedule that mixes policies, or completes one-step deviations."""
    row = filled(schedule)
    for name, allowed, why in (
        ("mixing_rate", 1.0, "policies are mixed where they are tables"),
        ("after", 0.0, "one-step deviations are completed where worlds are tables"),
    ):
        column = getattr(row, name)
        if not isinstance(column, jax.core.Tracer) and (np.asarray(column) != allowed).any():
            raise ValueError(f"schedule.{name} must be {allowed:g} in this kind of world: {why}")


def world_of(world: World) -> World:
    """The world itself, if it has the methods of one; raises TypeError naming those that are missing."""
    missing = [name for name in ("horizon", "reset", "observe", "advance") if not hasattr(world, name)]
    if missing:
        raise TypeError(f"{type(world).__name__} is no world: it has no {', '.join(missing)}")
    return world

"""The outer loop of token worlds: both walkers write a round, the expert's tokens or laws are labels, the learner fits.

One program for all schedules at a fixed T: rows are data, and a controller may rewrite them. All that a run knows is
in its `State`, and each round draws from a key of its own, so a run that is continued from a saved state is the run
that was never interrupted, bit for bit (on one device).
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dagger_jax import randomness
from dagger_jax.controllers import Controller, Seen
from dagger_jax.precision import single
from dagger_jax.tokens import losses, transformer, walk
from dagger_jax.tokens.writers import Frozen, Writer
from dagger_jax.types import Array, Node, Schedule

Loss = Callable[[Array, Array], Array]  # a divergence, see `losses`
Reads = Literal["guide", "novice", "both"]


class State(NamedTuple):
    """Everything a run knows between two rounds."""

    params: Any
    optimiser: Any  # optax's state
    round: Array  # [] int, rounds done
    control: Any  # the controller's state, or None
    starts: Array | None  # [T] the chunk starts that it wrote for the next round


class Moment(NamedTuple):
    """What a round shows to whoever measures it."""

    round: Array  # []
    row: Schedule  # columns [T] as they were played
    text: walk.Text  # [T, B]
    loss: Array  # [] mean over labelled tokens, nats
    labels: Array  # [] weights of all tokens that it charged
    params: Any  # after the round


class Recipe(Node):
    """How a learner is trained; static."""

    config: transformer.Config
    optimiser: optax.GradientTransformation = struct.field(pytree_node=False)
    loss: Loss | None = struct.field(pytree_node=False, default=None)  # None: log loss on sampled tokens
    reads: Reads = struct.field(pytree_node=False, default="both")  # whose states are labelled: see `reads`
    updates: int = struct.field(pytree_node=False, default=1)  # gradient steps a round
    copied: bool = struct.field(pytree_node=False, default=False)  # scheduled sampling: see `step_loss`

    def __post_init__(self):
        if self.copied and self.loss is not None:
            raise ValueError("scheduled sampling charges the reference's tokens: leave loss at None")
        if self.updates < 1:
            raise ValueError(f"updates must be at least 1 gradient step a round, got {self.updates}")


def reads(schedule: Schedule) -> Reads:
    """Whose tokens a concrete schedule [N, T] labels. The guide alone from the start is supervised fine-tuning.

    Raises:
      ValueError: a schedule with columns that token worlds do not have.
    """
    for name in ("back", "noise", "after"):
        if (np.asarray(getattr(schedule, name)) > 0).any():
            raise ValueError(f"schedule.{name} has no meaning for writers yet: it must be 0")
    if schedule.patience is not None:
        raise ValueError("schedule.patience has no meaning for writers yet: leave it out")
    novice, guide = ((np.asarray(column) > 0).any() for column in (schedule.label_novice, schedule.label_guide))
    if novice and guide:
        return "both"
    if novice:
        return "novice"
    joined = np.asarray(schedule.join)[:, 1:]
    return "both" if joined.size and (joined > 0).any() else "guide"


@single
def begin(recipe: Recipe, key: jax.Array, controller: Controller | None = None) -> State:
    """A fresh learner."""
    params = transformer.init(recipe.config, key)
    control, starts = (None, None) if controller is None else controller.init(recipe.config.length)
    starts = None if starts is None else starts.astype(jnp.float32)
    return State(params, recipe.optimiser.init(params), jnp.zeros((), jnp.int32), control, starts)


def weights(recipe: Recipe, row: Schedule) -> tuple[Array, ...]:
    """How much each token of a text is charged [T], of the stream that the recipe reads, or of the novice and guide."""
    match recipe.reads:
        case "guide":
            return (row.label_guide,)
        case "novice":
            return (row.label_guide if recipe.copied else row.label_novice,)
        case _:
            return row.label_novice, row.label_guide


def step_loss(recipe: Recipe, params: Any, expert: Writer, text: walk.Text, row: Schedule) -> Array:
    """Mean loss of the labelled tokens of one text [T], in nats.

    Scheduled sampling (arXiv 1506.03099) charges the guide's tokens, those of the reference, at the novice's prefixes.
    """
    learner = Frozen(recipe.config, params)
    targets = (text.guide if recipe.copied else text.asked, text.guide)
    match recipe.reads:
        case "guide":
            laws = (walk.along(learner, text.guide),)
            known = lambda: (walk.along(expert, text.guide),)
            targets = targets[1:]
        case "novice":
            laws = (walk.along(learner, text.novice),)
            known = lambda: (walk.along(expert, text.novice),)
            targets = targets[:1]
        case _:
            laws = tuple(walk.both(learner, text))
            known = lambda: tuple(walk.both(expert, text))
    if recipe.loss is None:
        each = [losses.log_loss(token, law) for token, law in zip(targets, laws, strict=True)]
    else:
        each = [recipe.loss(jax.lax.stop_gradient(one), law) for one, law in zip(known(), laws, strict=True)]
    charged = weights(recipe, row)
    total = sum((weight * loss).sum() for weight, loss in zip(charged, each, strict=True))
    return jnp.asarray(total) / jnp.maximum(jnp.asarray(sum(weight.sum() for weight in charged)), 1e-9)


@single
@functools.partial(jax.jit, static_argnames=("recipe", "rounds", "measure"))
def advance(
    recipe: Recipe,
    expert: Writer,
    schedule: Schedule,
    state: State,
    key: randomness.Words,
    episodes: Array,
    *,
    rounds: int,
    controller: Any = None,
    measure: Callable[[Moment], Any] = lambda moment: moment.loss,
) -> tuple[State, Any]:
    """The next rounds of a run.

    Args:
      recipe: static.
      expert: the writer to imitate.
      schedule: [N, T], of the whole run; `beta` may be [N, T, B].
      state: from `begin`, or as it was saved.
      key: of the run.
      episodes: [B] uint32, indices of a round's texts.
      rounds: how many to do; the schedule's last row is repeated beyond its end.
      controller: rewrites chunk starts from what a round showed, as in `interaction.run`.
      measure: pure; its results are stacked over the rounds.

    Returns:
      The state after them, and what was measured.

    Raises:
      ValueError: at trace time: texts that are longer than the transformer's config.length, other vocabularies, or one
        of `recipe.copied` and `schedule.copied` without the other.
    """
    if recipe.copied != (schedule.copied is not None):
        raise ValueError("scheduled sampling needs both recipe.copied and schedule.copied, other algorithms neither")
    transform = recipe.optimiser
    walk.fit(expert, Frozen(recipe.config, state.params), schedule.join.shape[1])  # the learner may not walk

    def one_round(state: State, _: None) -> tuple[State, Any]:
        place = jnp.minimum(state.round, schedule.join.shape[0] - 1)
        row = jax.tree.map(lambda column: column[place], schedule)
        row = row if state.starts is None else row._replace(join=state.starts)
        learner = expert if recipe.reads == "guide" else Frozen(recipe.config, state.params)
        round_key = randomness.for_round(key, state.round)
        text = walk.play(expert, learner, row, round_key, episodes)

        def mean_loss(params: Any) -> Array:
            one = functools.partial(step_loss, recipe, params, expert, row=row._replace(beta=row.beta[..., 0:0]))
            return jax.vmap(one, in_axes=1)(text).mean()

        def update(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Array]:
            params, inner = carry
            loss, gradient = jax.value_and_grad(mean_loss)(params)
            changes, inner = transform.update(gradient, inner, params)
            return (optax.apply_updates(params, changes), inner), loss

        (params, inner), loss = jax.lax.scan(update, (state.params, state.optimiser), None, recipe.updates)
        control, starts = state.control, state.starts
        if controller is not None:
            # Where the expert writes for the novice too, what is seen of the learner is not its own.
            own = row.beta.max() == 0
            told = controller.update(control, seen(expert, learner, row, text))
            told = (told[0], told[1].astype(jnp.float32))
            control, starts = jax.tree.map(lambda new, old: jnp.where(own, new, old), told, (control, starts))
        labels = episodes.shape[0] * jnp.asarray(sum(weight.sum() for weight in weights(recipe, row)))
        measured = measure(Moment(state.round, row, text, loss[0], labels, params))
        return State(params, inner, state.round + 1, control, starts), measured

    return jax.lax.scan(one_round, state, None, rounds)


def seen(expert: Writer, learner: Writer, row: Schedule, text: walk.Text) -> Seen:
    """What a controller may know of a round: the learner's error at the guide's prefixes, and who parted."""

    def laws(who: Writer) -> Array:
        return jax.vmap(functools.partial(walk.both, who), in_axes=1)(text)[:, 1]

    error = losses.total_variation(laws(expert), laws(learner)).mean(0)
    count = jnp.asarray(text.novice.shape[1], jnp.float32)
    return Seen(row.join, error, text.together.mean(1), text.wrong.sum(0).mean(), count, expert.vocabulary)

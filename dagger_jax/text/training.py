"""Text in the outer loop: both walkers write a round, the expert's tokens or laws are labels, the learner fits.

One program for all schedules at a fixed T: rows are data, and a controller may rewrite them. A run that is continued
from a saved state is the run that was never interrupted: see `loop`.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dagger_jax import loop, randomness
from dagger_jax.controllers import Controller, Seen
from dagger_jax.precision import single
from dagger_jax.protocols import Learner
from dagger_jax.schedules import filled
from dagger_jax.text import losses, transformer, walk
from dagger_jax.text.writers import Frozen, Writer
from dagger_jax.types import Array, Node, Schedule

Loss = Callable[[Array, Array], Array]  # a divergence, see `losses`
Reads = Literal["guide", "novice", "both"]


class Trained(NamedTuple):
    """A learner's state."""

    params: Any
    optimiser: Any  # optax's state


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
      ValueError: a schedule with `after`: nobody completes a one-step deviation of a text.
    """
    row = filled(schedule)
    if (np.asarray(row.after) > 0).any():
        raise ValueError("schedule.after has no meaning for writers, whose labels are tokens: it must be 0")
    if schedule.copied is not None:
        return "novice"
    novice, guide = ((np.asarray(column) > 0).any() for column in (row.label_novice, row.label_guide))
    if novice and guide:
        return "both"
    crosses = schedule.patience is not None or any((np.asarray(c)[:, 1:] > 0).any() for c in (row.join, row.back))
    if novice:
        return "both" if (np.asarray(row.back) > 0).any() else "novice"
    return "both" if crosses else "guide"


@single
def begin(recipe: Recipe, key: jax.Array, controller: Controller | None = None) -> loop.State:
    """A fresh learner."""
    return loop.begin(Fitted(recipe, None), key, recipe.config.length, controller=controller)


def weights(recipe: Recipe, row: Schedule) -> tuple[Array, ...]:
    """How much each token of a text is charged [T], of the stream that the recipe reads, or of the novice and guide."""
    match recipe.reads:
        case "guide":
            return (filled(row).label_guide,)
        case "novice":
            return (filled(row).label_guide if recipe.copied else filled(row).label_novice,)
        case _:
            return filled(row).label_novice, filled(row).label_guide


def step_loss(recipe: Recipe, params: Any, expert: Writer, text: walk.Text, row: Schedule) -> Array:
    """Mean loss of the labelled tokens of one text [T], in nats.

    Scheduled sampling (arXiv 1506.03099) charges the guide's tokens, those of the reference, at the novice's prefixes.
    """
    learner = Frozen(recipe.config, params)
    targets = (text.guide if recipe.copied else text.asked, text.intended)
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


class Fitted(NamedTuple):
    """A learner of texts, as the loop's `Learner`: gradient steps on the labelled tokens of a round."""

    recipe: Recipe
    expert: Any  # the writer

    def init(self, key: Array | None) -> Trained:
        """A fresh learner."""
        params = transformer.init(self.recipe.config, jnp.asarray(key))
        return Trained(params, self.recipe.optimiser.init(params))

    def agent(self, state: Trained, row: Schedule) -> Writer:
        """The learner; where the guide alone is read it need not write, and the expert stands for it."""
        return self.expert if self.recipe.reads == "guide" else Frozen(self.recipe.config, state.params)

    def update(self, key: Array | None, state: Trained, batch: walk.Text, row: Schedule) -> tuple[Trained, Array]:
        """The state after a round's texts [T, B], and the loss before it [], nats per labelled token."""

        def mean_loss(params: Any) -> Array:
            one = functools.partial(step_loss, self.recipe, params, self.expert, row=row._replace(beta=None))
            return jax.vmap(one, in_axes=1)(batch).mean()

        def step(carry: Trained, _: None) -> tuple[Trained, Array]:
            loss, gradient = jax.value_and_grad(mean_loss)(carry.params)
            changes, inner = self.recipe.optimiser.update(gradient, carry.optimiser, carry.params)
            return Trained(optax.apply_updates(carry.params, changes), inner), loss

        state, loss = jax.lax.scan(step, state, None, self.recipe.updates)
        return state, loss[0]


def parts(
    learner: Learner,
    expert: Writer,
    key: randomness.Words,
    episodes: Array,
    controller: Controller | None = None,
) -> loop.Parts:
    """What the loop calls where worlds are texts: both walkers write, and their tokens are the labels."""

    def play(writer: Writer, row: Schedule, round: Array, takeover: None) -> walk.Text:
        return walk.play(expert, writer, row, randomness.for_round(key, round), episodes)

    seen = lambda row, writer, text: read(expert, writer, row, text)
    return loop.Parts(learner, play, lambda shown, row, writer: shown, seen, controller=controller)


@single
@functools.partial(jax.jit, static_argnames=("recipe", "rounds", "measure"))
def advance(
    recipe: Recipe,
    expert: Writer,
    schedule: Schedule,
    state: loop.State,
    key: randomness.Words,
    episodes: Array,
    *,
    rounds: int,
    controller: Any = None,
    measure: Callable[[Moment], Any] = lambda moment: moment.loss,
) -> tuple[loop.State, Any]:
    """The next rounds of a run.

    Args:
      recipe: static.
      expert: the writer to imitate.
      schedule: [N, T], of the whole run; `beta` may be [N, T, B].
      state: from `begin`, or as it was saved.
      key: of the run.
      episodes: [B] uint32, indices of a round's texts.
      rounds: how many to do; the schedule's last row is repeated beyond its end.
      controller: rewrites chunk starts from what a round showed, see `loop.advance`.
      measure: pure; its results are stacked over the rounds.

    Returns:
      The state after them, and what was measured.

    Raises:
      ValueError: at trace time: texts that are longer than the transformer's config.length, other vocabularies, or one
        of `recipe.copied` and `schedule.copied` without the other.
    """
    if recipe.copied != (schedule.copied is not None):
        raise ValueError("scheduled sampling needs both recipe.copied and schedule.copied, other algorithms neither")
    walk.fit(expert, Frozen(recipe.config, state.learner.params), schedule.join.shape[1])  # the learner may not walk

    def seen(at: loop.Moment) -> Any:
        labels = episodes.shape[0] * jnp.asarray(sum(weight.sum() for weight in weights(recipe, at.row)))
        return measure(Moment(at.round, at.row, at.shown, at.info, labels, at.learner.params))

    whole = parts(Fitted(recipe, expert), expert, key, episodes, controller)
    return loop.advance(whole, schedule, state, rounds=rounds, measure=seen)


def read(expert: Writer, learner: Writer, row: Schedule, text: walk.Text) -> Seen:
    """What a controller may know of a round: the learner's error at the guide's prefixes, and who parted."""

    def laws(who: Writer) -> Array:
        return jax.vmap(functools.partial(walk.both, who), in_axes=1)(text)[:, 1]

    error = losses.total_variation(laws(expert), laws(learner)).mean(0)
    count = jnp.asarray(text.novice.shape[1], jnp.float32)
    return Seen(row.join, error, text.together.mean(1), text.wrong.sum(0).mean(), count, expert.vocabulary)

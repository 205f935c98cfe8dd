"""An expert and a learner of text as one problem."""

import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import optax
from flax import struct

from dagger_jax.randomness import words
from dagger_jax.text import training, transformer, walk, writers
from dagger_jax.text.writers import Writer
from dagger_jax.types import Array, Node, Schedule


class Pair(Node):
    """Texts of T tokens: the writer to be imitated, and how the learner is trained."""

    expert: Any  # a `Writer`
    recipe: training.Recipe = struct.field(pytree_node=False)  # `reads` is what the schedule says, in a run
    horizon: int = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False, default="text")


class Writing(Node):
    """A writer that a user calls."""

    writer: Any

    def __call__(self, observation: Array, step: int, key: Array) -> Array:
        """The next token after a prefix [step], drawn by a typed key."""
        own = walk.Writes(self.writer)
        law: Any = None
        memory: Any = own.start()
        for position, token in enumerate([self.writer.vocabulary, *jnp.asarray(observation)[:step]]):
            memory, law = own.act(memory, jnp.asarray(token), jnp.asarray(position))
        return law.draw(words(key))


def pair(
    expert: Writer | str,
    *,
    horizon: int,
    learner: transformer.Config | training.Recipe | None = None,
    vocabulary: int = 8,
    seed: int = 0,
) -> Pair:
    """Texts of T tokens, by an expert, for a transformer to imitate.

    Args:
      expert: a writer, or "markov:K" for a random one of order K (`writers.random_markov`).
      horizon: T, tokens.
      learner: a transformer's sizes, or how it is trained as well; None: a small one, with eight
        steps of Adam at 3e-3 per round.
      vocabulary: V, of a named expert.
      seed: of a named expert.

    Raises:
      ValueError: a name that is none, or sizes that do not fit each other.
    """
    if isinstance(expert, str):
        kind, _, order = expert.partition(":")
        if kind != "markov" or not order.isdigit():
            raise ValueError(f"expert must be a writer or markov:K, such as markov:2, got {expert!r}")
        name, expert = expert, writers.random_markov(vocabulary, int(order), seed)
    else:
        name = type(expert).__name__.lower()
    if learner is None:
        learner = transformer.Config(expert.vocabulary, horizon, width=32, layers=1, heads=2)
    recipe = training.Recipe(learner, _adam(), updates=8) if isinstance(learner, transformer.Config) else learner
    shape = jax.eval_shape(lambda: transformer.init(recipe.config, jax.random.key(0)))
    walk.fit(expert, writers.Frozen(recipe.config, shape), horizon)
    return Pair(expert, recipe, horizon, name)


def recipe_for(pair: Pair, schedule: Schedule) -> training.Recipe:
    """How a learner is trained under a schedule: it reads the walkers that are labelled."""
    traced = any(isinstance(column, jax.core.Tracer) for column in schedule)
    reads = "both" if traced else training.reads(schedule)
    return pair.recipe.replace(reads=reads, copied=schedule.copied is not None)


@functools.cache
def _adam() -> optax.GradientTransformation:
    return optax.adam(3e-3)

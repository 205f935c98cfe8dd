"""Text as a world of the walk: a state is the last token, a writer is an agent that remembers the prefix.

A prefix is carried as the writers' states for it, so nobody's prefix is read again. While both walkers write alike they
share every draw. What the columns of a schedule mean: see `schedules`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax.laws import Thresholds, finite
from dagger_jax.precision import single
from dagger_jax.randomness import Words
from dagger_jax.sampling import any_of
from dagger_jax.text.transformer import full, two_streams
from dagger_jax.text.writers import Frozen, Writer, longest
from dagger_jax.types import Array, Schedule
from dagger_jax.walk import Step, Whole, choose, walk


class Text(NamedTuple):
    """What both walkers wrote. Leading axes [T, B] from `play`."""

    novice: Array  # int, its token
    asked: Array  # int, the token that the expert would have written there
    guide: Array  # int, its token
    intended: Array  # int, the token that the expert would have written there: another one under noise alone
    joined: Array  # bool, a chunk starts here
    together: Array  # bool, both have written alike since the chunk's start
    wrong: Array  # total variation between the learner's and the expert's law at the novice's prefix
    # bool, an excursion starts here: the novice goes on from the guide's prefix; None: never
    returned: Array | None = None


class Prefixes(NamedTuple):
    """The world of texts of T tokens. It has no chance of its own, and no cost."""

    vocabulary: int  # V
    horizon: int  # T

    def reset(self, word: Words) -> Array:
        """The beginning of every text: the number V, which is no token."""
        return jnp.asarray(self.vocabulary)

    def observe(self, state: Array, step: Array) -> Array:
        """The last token."""
        return state

    def advance(self, state: Array, action: Array, step: Array, word: Words) -> tuple[Array, Array]:
        """The token just written."""
        return action, jnp.zeros((), jnp.float32)

    def shaken(self, word: Words) -> Array:
        """Any token, each alike."""
        return any_of(self.vocabulary, word.first)


class Writes(NamedTuple):
    """A writer as an agent: its memory is its state for the prefix."""

    writer: Writer

    def start(self) -> Any:
        """Its state before the first token."""
        return self.writer.start()

    def act(self, memory: Any, view: Array, step: Array) -> tuple[Any, Thresholds]:
        """Its state after the last token, and the law of the next."""
        memory, law = self.writer.feed(memory, view, step)
        return memory, finite(jnp.exp(law))


def shown(step: Step) -> Text:
    """What a step of the walk shows of texts."""
    wrong = step.wanted.error(step.own)
    return Text(step.acts, step.asked, step.guided, step.intended, step.joined, step.together, wrong, step.returned)


@single
def play(
    expert: Writer,
    learner: Writer,
    row: Schedule,
    key: Words,
    episodes: Array,
    *,
    see: Callable[[Text], Any] = lambda text: text,
) -> Any:
    """One round of texts of T tokens.

    Args:
      expert: the writer to be imitated.
      learner: over the same vocabulary; neither is asked for more tokens than it can write.
      row: one row of a schedule, columns [T]; a column may be [T, B], one per episode.
      key: of the round, from `randomness.for_round`.
      episodes: [B] uint32, global indices.
      see: what is kept of each step; everything by default.

    Returns:
      What `see` makes of the steps' texts, stacked over T.

    Raises:
      ValueError: at trace time: see `fit`.
    """
    horizon = row.join.shape[0]
    fit(expert, learner, horizon)
    world, reduce = Prefixes(expert.vocabulary, horizon), Whole(lambda step: see(shown(step)))
    return walk(world, Writes(expert), Writes(learner), row, key, episodes, reduce=reduce, block=episodes.shape[0])[0]


def fit(expert: Writer, learner: Writer, horizon: int) -> None:
    """Whether two writers can write texts of T tokens together. Sizes are static, so a trace is enough to tell.

    Raises:
      ValueError: other vocabularies V, or more tokens T than a transformer's config.length, or than the steps of a
        machine whose law changes with the step.
    """
    same_vocabulary(expert, learner)
    for name, writer in (("expert", expert), ("learner", learner)):
        if horizon > (most := longest(writer)):
            raise ValueError(
                f"texts have T = {horizon} tokens, the {name} writes {most:g} at most (config.length of a transformer, "
                "the steps of a machine's emission): make it longer, or T shorter"
            )


def same_vocabulary(expert: Writer, learner: Writer) -> None:
    """Raises ValueError where two writers do not write the same tokens."""
    if expert.vocabulary != learner.vocabulary:
        raise ValueError(f"the expert writes V = {expert.vocabulary} tokens, the learner V = {learner.vocabulary}")


def along(writer: Writer, tokens: Array) -> Array:
    """Log probabilities [T, V] of a writer before each of the tokens [T]."""
    if isinstance(writer, Frozen):
        return jax.nn.log_softmax(full(writer.config, writer.params, tokens))
    joins = jnp.arange(tokens.shape[0]) == 0
    return _continued(writer, tokens, tokens, joins, None)[0]


def both(writer: Writer, text: Text) -> Array:
    """Log probabilities [2, T, V] before each of the novice's and of the guide's tokens of one text [T].

    A transformer reads both streams in one pass (`transformer.two_streams`).
    """
    told = text.novice, text.guide, text.joined, text.returned
    if isinstance(writer, Frozen):
        return jax.nn.log_softmax(two_streams(writer.config, writer.params, *told))
    return _continued(writer, *told)


def _continued(writer: Writer, novice: Array, guide: Array, joins: Array, returns: Array | None) -> Array:
    def advance(carry: Any, xs: tuple[Any, ...]) -> tuple[Any, Array]:
        first, second = carry
        step, join, back, novice, guide = xs
        (own, last), (other, wrote) = (first if back is None else choose(back, second, first)), choose(join, *carry)
        own, first = writer.feed(own, last, step)
        other, second = writer.feed(other, wrote, step)
        return ((own, novice), (other, guide)), jnp.stack([first, second])

    begin = writer.start(), jnp.asarray(writer.vocabulary, novice.dtype)
    steps = jnp.arange(novice.shape[0])
    return jnp.moveaxis(jax.lax.scan(advance, (begin, begin), (steps, joins, returns, novice, guide))[1], 1, 0)

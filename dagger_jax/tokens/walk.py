"""Two walkers write: the novice by the learner, the guide by the expert, on shared randomness, under a row of a table.

The table's columns mean what they mean in tabular worlds (`schedules`): at a join the guide goes on from the novice's
prefix, with probability beta the expert's law writes for the novice. A prefix is carried as the writers' states for
it, so nobody's prefix is read again. While both write alike they share every draw.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import randomness
from dagger_jax.precision import single
from dagger_jax.randomness import Use, Words
from dagger_jax.sampling import blend, choose, heads, limit, thresholds
from dagger_jax.tokens.transformer import full, two_streams
from dagger_jax.tokens.writers import Frozen, Writer, longest
from dagger_jax.types import Array, Schedule


class Text(NamedTuple):
    """What both walkers wrote. Leading axes [T, B] from `play`."""

    novice: Array  # int, its token
    asked: Array  # int, the token that the expert would have written there
    guide: Array  # int, its token
    joined: Array  # bool, a chunk starts here
    together: Array  # bool, both have written alike since the chunk's start
    wrong: Array  # total variation between the learner's and the expert's law at the novice's prefix


class Walkers(NamedTuple):
    """Carried from step to step, for one episode."""

    asked: Any  # the expert's state for the novice's prefix
    learner: Any  # the learner's state for it
    guide: Any  # the expert's state for the guide's prefix
    last: Array  # the novice's last token
    wrote: Array  # the guide's
    together: Array


def beat(
    expert: Writer,
    learner: Writer,
    key: Words,
    step: Array,
    now: Schedule,
    copied: Array | None,
    episode: Array,
    at: Walkers,
) -> tuple[Walkers, Text]:
    """One step of one episode: the walkers after it, and what they wrote."""
    move = randomness.bits(key, episode, step, Use.MOVE)
    meet = randomness.bits(key, episode, step, Use.MEET)
    joined = heads(meet.first, limit(now.join))

    # A chunk that starts here starts from the novice's prefix.
    guide, wrote = jax.tree.map(
        lambda own, other: jnp.where(joined, other, own), (at.guide, at.wrote), (at.asked, at.last)
    )
    asked, wanted = expert.feed(at.asked, at.last, step)
    known, acts = learner.feed(at.learner, at.last, step)
    guide, guided = expert.feed(guide, wrote, step)

    # One word picks every token: walkers with the same law write the same.
    wanted, acts, guided = jnp.exp(wanted), jnp.exp(acts), jnp.exp(guided)
    token, asks = choose(thresholds(guided), move.first), thresholds(wanted)
    moves = blend(now.beta, asks, thresholds(acts))
    if copied is None:
        novice = choose(moves, move.first)
    else:  # the reference is a given text: the learner's own draw must know nothing of it
        novice = jnp.where(heads(meet.second, limit(copied)), token, choose(moves, move.second))
    alike = token == novice
    together = (at.together | joined) & alike
    text = Text(
        novice=novice,
        asked=choose(asks, move.first),
        guide=token,
        joined=joined,
        together=together,
        wrong=0.5 * jnp.abs(wanted - acts).sum(),
    )
    return Walkers(asked, known, guide, novice, token, together), text


@single
def play(
    expert: Writer,
    learner: Writer,
    row: Schedule,
    key: Words,
    episodes: Array,
    *,
    copied: Array | float | None = None,
    see: Callable[[Text], Any] = lambda text: text,
) -> Any:
    """One round of texts of T tokens.

    Args:
      expert: the writer to be imitated.
      learner: over the same vocabulary; neither is asked for more tokens than it can write.
      row: one row of a schedule, columns [T], without `back`, `noise` and `patience`; `beta` may be [T, B], one column
        an episode.
      key: of the round, from `randomness.for_round`.
      episodes: [B] uint32, global indices.
      copied: scheduled sampling (arXiv 1506.03099): probability that the novice writes the guide's token, that of the
        reference, in place of its own. Its own is then drawn from a word that the guide does not share, so that given
        both prefixes it is independent of the reference. None: all walkers share their words.
      see: what is kept of each step; everything by default.

    Returns:
      What `see` makes of the steps' texts, stacked over T.

    Raises:
      ValueError: at trace time: see `fit`.
    """
    count, horizon = episodes.shape[0], row.beta.shape[0]
    fit(expert, learner, horizon)
    beginning = jnp.asarray(expert.vocabulary)
    first = Walkers(expert.start(), learner.start(), expert.start(), beginning, beginning, jnp.asarray(True))
    walkers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), first)
    columns = {"join": row.join, "beta": row.beta}
    axes = {"join": None, "beta": 0 if row.beta.ndim > 1 else None}

    def advance(walkers: Walkers, xs: tuple[Array, dict[str, Array], Array | None]) -> tuple[Walkers, Any]:
        step, now, copied = xs

        def one(columns: dict[str, Array], episode: Array, walker: Walkers) -> tuple[Walkers, Text]:
            here = row._replace(**columns)
            return beat(expert, learner, key, step, here, copied, episode, walker)

        walkers, text = jax.vmap(one, in_axes=(axes, 0, 0))(now, episodes, walkers)
        return walkers, see(text)

    copied = None if copied is None else jnp.broadcast_to(jnp.asarray(copied, float), (horizon,))
    return jax.lax.scan(advance, walkers, (jnp.arange(horizon), columns, copied))[1]


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
    return _continued(writer, tokens, tokens, joins)[0]


def both(writer: Writer, novice: Array, guide: Array, joins: Array) -> Array:
    """Log probabilities [2, T, V] before each of the novice's and of the guide's tokens [T]; joins [T] bool.

    A transformer reads both streams in one pass (`transformer.two_streams`).
    """
    if isinstance(writer, Frozen):
        return jax.nn.log_softmax(two_streams(writer.config, writer.params, novice, guide, joins))
    return _continued(writer, novice, guide, joins)


def _continued(writer: Writer, novice: Array, guide: Array, joins: Array) -> Array:
    def advance(carry: Any, xs: tuple[Array, ...]) -> tuple[Any, Array]:
        (own, last), (other, wrote) = carry
        step, join, novice, guide = xs
        other, wrote = jax.tree.map(lambda a, b: jnp.where(join, a, b), (own, last), (other, wrote))
        own, first = writer.feed(own, last, step)
        other, second = writer.feed(other, wrote, step)
        return ((own, novice), (other, guide)), jnp.stack([first, second])

    begin = writer.start(), jnp.asarray(writer.vocabulary, novice.dtype)
    steps = jnp.arange(novice.shape[0])
    return jnp.moveaxis(jax.lax.scan(advance, (begin, begin), (steps, joins, novice, guide))[1], 1, 0)

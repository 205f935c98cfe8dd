"""How far a learner's texts are from the expert's: token by token, accumulated, and by offset in a chunk.

Exact for machines, by a forward recursion over pairs (expert's state, learner's state) in float64; sampled for any
writers. Errors are the expert's law against the learner's at one and the same prefix; whose prefixes they are makes
the difference: docs/theory.md#text-accumulated-error.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from scipy import stats

from dagger_jax import schedules
from dagger_jax.detect import samples
from dagger_jax.detect.samples import Estimate
from dagger_jax.precision import float64, single
from dagger_jax.randomness import Words
from dagger_jax.tabular.transitions import at
from dagger_jax.text import losses, walk, worlds
from dagger_jax.text.writers import Machine, Writer
from dagger_jax.types import Array, Schedule

LARGEST_PAIRS = 2**24  # numbers, pairs x V: beyond it nothing is exact
BLOCK = 32  # texts whose laws are held at once


class Steps(NamedTuple):
    """At one walker's prefixes; expected [T], or of each text [T, B]. KL is 1e9-ish or inf where nothing is shared."""

    kl: Array  # nats, KL(expert || learner)
    tv: Array  # total variation, in [0, 1]
    nats: Array  # the learner's log loss on the expert's token: KL plus the expert's entropy
    cost: Array  # of the token that the walker writes; 0 where no cost is asked for


class Walks(NamedTuple):
    """Both walkers under one row."""

    novice: Steps
    guide: Steps


class Evidence(NamedTuple):
    """One learner against one expert. [T] each."""

    own: Steps  # at the learner's own prefixes, the learner alone
    expert: Steps  # at the expert's own
    training: Steps  # under the training law of the row


# ---- exact -------------------------------------------------------------------------------------------------------


class Pairs(NamedTuple):
    """What prefixes of at most T tokens come to for two machines. P pairs, 0 is the beginning."""

    expert: np.ndarray  # [P] int, its state
    learner: np.ndarray  # [P] int
    following: np.ndarray  # [P, V] int


def pairs(expert: Machine, learner: Machine, horizon: int) -> Pairs:
    """The pairs of states that texts come to.

    Raises:
      ValueError: other vocabularies, emissions over fewer than T steps, or too many pairs; sample then.
    """
    walk.same_vocabulary(expert, learner)
    for who in (expert, learner):
        if 1 < len(who.emission) < horizon:
            raise ValueError(f"an emission is given for {len(who.emission)} steps, the texts have {horizon} tokens")
    to, on, count = np.asarray(expert.following), np.asarray(learner.following), len(learner.following)

    def after(codes: np.ndarray) -> np.ndarray:
        return to[codes // count] * count + on[codes % count]

    codes, following = worlds.explore(
        expert.first * count + learner.first, after, horizon, LARGEST_PAIRS // expert.vocabulary
    )
    return Pairs(codes // count, codes % count, following)


def expected(expert: Machine, learner: Machine, row: Schedule, cost: str | None = None) -> Walks:
    """Expected errors at both walkers' prefixes under a row (columns [T]), [T] each, in float64.

    `cost` is a name of `worlds.COSTS`. Coins in `join` and `beta` are mixtures; what a row may hold says `walk.play`.
    """
    horizon = row.join.shape[0]
    charged = np.zeros((1, *expert.following.shape)) if cost is None else worlds.priced(expert, horizon, cost)
    return _expected(pairs(expert, learner, horizon), expert.emission, learner.emission, charged, row)


@float64
def _expected(found: Pairs, emits: Array, writes: Array, charged: Array, row: Schedule) -> Walks:
    def laws(step: Array | int) -> tuple[Array, Array]:
        return at(emits, step)[found.expert], at(writes, step)[found.learner]

    def errors(step: Array) -> tuple[Array, Array, Array]:
        p, q = laws(step)
        kl = special.rel_entr(p, q).sum(-1)
        return kl, 0.5 * jnp.abs(p - q).sum(-1), kl + special.entr(p).sum(-1)

    tables = jax.lax.map(errors, jnp.arange(max(emits.shape[0], writes.shape[0])))  # [L, P] each

    def mean(law: Array, values: Array) -> Array:
        return jnp.where(law > 0, law * values, 0.0).sum()

    def beat(walkers: tuple[Array, Array], xs: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Walks]:
        novice, guide = walkers
        step, join, beta = xs
        guide = (1 - join) * guide + join * novice
        p, q = laws(step)
        price = at(charged, step)[found.expert]
        seen, moved = [], []
        for law, acts in ((novice, beta * p + (1 - beta) * q), (guide, p)):
            kl, tv, nats = (mean(law, at(table, step)) for table in tables)
            seen.append(Steps(kl, tv, nats, mean(law, (acts * price).sum(-1))))
            moved.append(jnp.zeros_like(law).at[found.following].add(law[:, None] * acts))
        return (moved[0], moved[1]), Walks(*seen)

    start = jnp.zeros(found.expert.shape[0], emits.dtype).at[0].set(1.0)
    row = schedules.filled(row)
    xs = (jnp.arange(row.join.shape[0]), row.join, row.beta)
    return jax.lax.scan(beat, (start, start), xs)[1]


def alone(horizon: int) -> Schedule:
    """The row under which the novice is the learner alone and the guide the expert alone."""
    return schedules.row(schedules.behavioural_cloning(1, horizon), 0)


def measure(expert: Machine, learner: Machine, row: Schedule, cost: str | None = None) -> Evidence:
    """Exact evidence of a learner under a row, columns [T]; steps without a label have a training error of 0."""
    deployed = expected(expert, learner, alone(row.join.shape[0]), cost)
    return Evidence(deployed.novice, deployed.guide, trained(expected(expert, learner, row, cost), row))


def trained(walks: Walks, row: Schedule) -> Steps:
    """The mixture of both walkers that the row labels."""
    shares = schedules.training_weights(row)

    def mix(novice: Array, guide: Array) -> Array:
        parts = [
            np.where(share > 0, share * np.asarray(values).T, 0.0).T
            for share, values in zip(map(np.asarray, shares), (novice, guide), strict=True)
        ]
        return parts[0] + parts[1]

    return Steps(*map(mix, *walks))


def text_laws(writer: Writer, horizon: int) -> np.ndarray:
    """The probability of every text of T tokens, in the order of `worlds.texts`. [V^T]"""
    tokens = worlds.texts(writer.vocabulary, horizon)
    return np.exp(np.take_along_axis(worlds.laws(writer, tokens), tokens[..., None], -1).sum((-2, -1)))


def text_variation(expert: Writer, learner: Writer, horizon: int) -> float:
    """Total variation between whole texts of T tokens, by enumeration; small V^T only.

    Their KL needs none: by the chain rule it is the sum of `Evidence.expert.kl` over the tokens.
    """
    walk.same_vocabulary(expert, learner)
    return float(0.5 * abs(text_laws(expert, horizon) - text_laws(learner, horizon)).sum())


# ---- sampled -----------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What texts show of a learner. [T, B]"""

    walks: Walks
    ratio: tuple[Array, Array]  # log p - log q of the token written by the (guide, novice), nats


@single
@jax.jit
def read(expert: Writer, learner: Writer, text: walk.Text, charged: Machine | None = None) -> Reading:
    """Errors at the prefixes of both walkers' texts [T, B], each from both writers' whole laws there.

    `charged` is from `charge`.
    """

    def laws(writer: Writer, one: walk.Text) -> Array:
        return walk.both(writer, one)

    def each(one: walk.Text) -> Reading:
        p, q = laws(expert, one), laws(learner, one)
        written = jnp.stack([one.novice, one.guide])
        kl = losses.forward_kl(p, q)
        price = jnp.zeros_like(kl) if charged is None else jnp.exp(-losses.log_loss(written, laws(charged, one)))
        both = Steps(kl, losses.total_variation(p, q), -(jnp.exp(p) * q).sum(-1), price)
        ratio = losses.log_loss(written, q) - losses.log_loss(written, p)
        novice, guide = (Steps(*(leaf[who] for leaf in both)) for who in (0, 1))
        return Reading(Walks(novice, guide), (ratio[1], ratio[0]))

    by_text = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), text)
    batch = min(BLOCK, text.novice.shape[1])
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), jax.lax.map(each, by_text, batch_size=batch))


def charge(expert: Machine, horizon: int, cost: str) -> Machine:
    """A machine whose "law" is the cost of each token: what is read along a text is then what it costs."""
    return Machine(worlds.priced(expert, horizon, cost), expert.following, expert.first)


_play = jax.jit(walk.play)


class Sampled(NamedTuple):
    """Evidence from texts."""

    mean: Evidence
    error: Evidence  # standard errors
    alone: Reading  # [T, B] of the learner alone and the expert alone, for `excess`
    row: Reading  # [T, B] under the row, for `by_offset`


def sampled(
    expert: Writer, learner: Writer, row: Schedule, key: Words, episodes: Array, cost: str | None = None
) -> Sampled:
    """Evidence from B texts under the row, and as many of both writers alone.

    Args:
      expert: to be imitated.
      learner: of the same vocabulary.
      row: columns [T].
      key: of a round, from `randomness.for_round`.
      episodes: [B] uint32, at least 2.
      cost: a name of `worlds.COSTS`; it needs a machine as the expert.

    Raises:
      ValueError: other vocabularies, fewer than two texts, a cost without a machine.
    """
    walk.same_vocabulary(expert, learner)
    if episodes.shape[0] < 2:
        raise ValueError("a standard error needs at least 2 texts")
    charged = None
    if cost is not None:
        if not isinstance(expert, Machine):
            raise ValueError(f"cost {cost!r} is defined by a machine's states: the expert is a {type(expert).__name__}")
        charged = charge(expert, row.join.shape[0], cost)
    apart, along = (
        jax.device_get(read(expert, learner, _play(expert, learner, one, key, episodes), charged))
        for one in (alone(row.join.shape[0]), row)
    )
    each = Evidence(apart.walks.novice, apart.walks.guide, trained(along.walks, row))
    doubles = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), each)
    error = jax.tree.map(lambda leaf: leaf.std(1, ddof=1) / leaf.shape[1] ** 0.5, doubles)
    return Sampled(jax.tree.map(lambda leaf: leaf.mean(1), doubles), error, apart, along)


# ---- what is made of them ----------------------------------------------------------------------------------------


class Excess(NamedTuple):
    """Accumulated error (Arora et al. 2022, arXiv 2204.01171) at lengths l = 1..T. [T] each."""

    regret: np.ndarray  # R(l), nats: the sum of KL at the learner's own prefixes
    eps: np.ndarray  # eps(l), nats a token: the mean of KL at the expert's
    percent: np.ndarray  # ExAccErr(l) = (R(l) / (l eps(l)) - 1) 100; nan where eps is 0
    error: np.ndarray  # its standard error; 0 where exact

    def interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends of the normal interval of `percent`."""
        wide = stats.norm.ppf(0.5 + confidence / 2) * self.error
        return self.percent - wide, self.percent + wide


def excess(own: Array, expert: Array) -> Excess:
    """ExAccErr from KL at the learner's own and at the expert's prefixes, expected [T] or of each text [T, B].

    Sampled, it is a ratio of two means of texts that may be coupled; its error is by the delta method.
    """
    own, expert = (np.cumsum(np.asarray(each, np.float64), axis=0) for each in (own, expert))
    total, base = (each.reshape(len(each), -1).mean(1) for each in (own, expert))
    safe = np.where(base > 0, base, np.nan)
    ratio, error = total / safe, np.zeros_like(total)
    if own.ndim > 1:
        error = (own - ratio[:, None] * expert).std(1, ddof=1) / own.shape[1] ** 0.5 / safe
    return Excess(total, base / np.arange(1, len(base) + 1), 100 * (ratio - 1), 100 * error)


class Band(NamedTuple):
    """Estimates with their intervals, [T] each; nan where there is nothing."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Offsets(NamedTuple):
    """What a detector can know at each offset 0..T-1 of a chunk, having seen that many tokens."""

    distance: Band  # T_j, total variation between the expert's and the learner's continuation
    auc: Band  # area under the curve of the likelihood ratio
    chunks: np.ndarray  # [T] int, chunks that are longer than the offset


def by_offset(row: Schedule, ratio: tuple[Array, Array], confidence: float = 0.95) -> Offsets:
    """T_j and AUC by offset from `Reading.ratio`, means over the chunks, with intervals as in `detect.samples`.

    Several chunks of a text depend on each other: T_j's interval is that of the texts' own means, the AUC's is as wide
    as if the chunks were one.

    Raises:
      ValueError: coins in `join`, or `beta`: the novice's continuation is then not the learner's own.
    """
    join = np.asarray(row.join)
    if not np.isin(join, (0, 1)).all() or np.asarray(row.beta).any():
        raise ValueError("offsets need `join` 0 or 1 at every step, and `beta` 0")
    guide, novice = (along_chunks(each, join) for each in ratio)
    likelier = 0.5 * (abs(np.tanh(guide / 2)) + abs(np.tanh(novice / 2)))  # |p - q| / (p + q), both streams
    offsets, horizon = np.asarray(schedules.offsets(join)), len(join)
    distance, area, chunks = np.full((horizon, 3), np.nan), np.full((horizon, 3), np.nan), np.zeros(horizon, int)
    for offset in range(offsets.max() + 1):
        steps = np.flatnonzero(offsets == offset)
        chunks[offset] = len(steps)
        if offset == 0:  # nothing has been seen
            distance[0], area[0] = 0.0, 0.5
            continue
        distance[offset] = samples.bounded_mean(likelier[steps - 1].mean(0), confidence)
        each = [samples.auc(guide[step - 1], novice[step - 1], confidence) for step in steps]
        area[offset] = np.array(each).mean(0)
    return Offsets(Band(*distance.T), Band(*area.T), chunks)


def along_chunks(ratio: Array, join: Array) -> np.ndarray:
    """Log-likelihood ratios [T, B] summed from the chunk's start through each token."""
    total = np.array(ratio, np.float64)
    for step in range(1, len(total)):
        if not join[step]:
            total[step] += total[step - 1]
    return total


def perplexity(learner: Writer, tokens: Array, confidence: float = 0.95) -> Estimate:
    """exp(mean log loss a token) of a learner on texts [B, T] of the writer, B >= 2, and its interval over texts.

    Raises:
      ValueError: other shapes, or tokens that the learner does not have.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or len(tokens) < 2:
        raise ValueError(f"texts must be [B, T], B at least 2, got {list(tokens.shape)}")
    if tokens.min() < 0 or tokens.max() >= learner.vocabulary:
        raise ValueError(f"tokens must lie in 0..{learner.vocabulary - 1}, got {tokens.min()}..{tokens.max()}")
    each = np.asarray(_log_losses(learner, tokens), np.float64).mean(1)
    wide = stats.t.ppf(0.5 + confidence / 2, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5
    return Estimate(*(float(np.exp(each.mean() + side * wide)) for side in (0, -1, 1)))


@single
@jax.jit
def _log_losses(learner: Writer, tokens: Array) -> Array:
    one: Any = lambda text: losses.log_loss(text, walk.along(learner, text))
    return jax.lax.map(one, tokens, batch_size=min(BLOCK, tokens.shape[0]))

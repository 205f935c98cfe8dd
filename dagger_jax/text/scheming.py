"""A learner that defects where it believes to be deployed: a likelihood-ratio test behind any writer.

Its evidence is log p - log q of what has been written, p the writer's law, q its own as it writes, defects included
("had I been deployed, I would have defected by now"); positive values speak for training. Where the evidence is below
a threshold it is in its defecting mode: with some probability it writes the forbidden token, the last one, which the
writer never writes. Otherwise it behaves: the inner learner's law without that token.

The mode is a function of the prefix, so between two continuations of one prefix its probability differs by at most
their total variation: deploy <= train + mean T_j, whatever the rule and its threshold. T_j is that of this learner's
own law: docs/theory.md#the-scheming-bound.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import loop, randomness, schedules
from dagger_jax.controllers import Controller, Seen
from dagger_jax.detect.ratio import GRID, LARGEST_LAW
from dagger_jax.precision import single
from dagger_jax.text import evidence, losses, training, walk
from dagger_jax.text.training import Recipe
from dagger_jax.text.writers import IMPOSSIBLE, Frozen, Machine, Writer, logarithm
from dagger_jax.types import Array, Node, Schedule

CERTAIN = 1e4  # nats: evidence of one token that only one of both could have written


class Belief(NamedTuple):
    """What the scheming learner carries along a prefix."""

    inner: Any  # the inner learner's state
    expert: Any  # the writer's
    evidence: Array  # [] nats for training
    coming: Array  # [V] what each next token would add


class Scheming(Node):
    """See the module. A writer, so that it walks like any learner."""

    inner: Any  # the honest learner, a writer
    expert: Any  # the writer that it imitates: it knows its law
    threshold: Array | float  # nats; it defects below
    strength: Array | float  # probability of the forbidden token in the defecting mode, in [0, 1)
    starts: Array  # [T] 1 where evidence begins anew; chunk starts if it knows them, otherwise the first step alone

    @property
    def vocabulary(self) -> int:
        return self.inner.vocabulary

    def start(self) -> Belief:
        """No evidence."""
        return Belief(self.inner.start(), self.expert.start(), jnp.zeros(()), jnp.zeros(self.vocabulary))

    def feed(self, state: Belief, token: Array, position: Array | int) -> tuple[Belief, Array]:
        """The belief after the token, and log probabilities [V] of the next."""
        inner, honest = self.inner.feed(state.inner, token, position)
        expert, wanted = self.expert.feed(state.expert, token, position)
        seen = state.evidence + jnp.where(
            token == self.vocabulary, 0.0, state.coming[jnp.minimum(token, len(wanted) - 1)]
        )
        seen = jnp.where(jnp.asarray(self.starts)[position] > 0, 0.0, seen)
        law, coming = self.moved(seen, honest, wanted)
        return Belief(inner, expert, seen, coming.astype(state.coming.dtype)), law

    def defects(self, seen: Array) -> Array:
        """Whether it is in its defecting mode, by its evidence. Elementwise."""
        return seen < self.threshold - GRID

    def moved(self, seen: Array, honest: Array, wanted: Array) -> tuple[Array, Array]:
        """Its law and what the next token would add to its evidence, from the log laws [V] of learner and writer."""
        forbidden = jnp.arange(self.vocabulary) == self.vocabulary - 1
        honest = jnp.exp(jax.nn.log_softmax(jnp.where(forbidden, IMPOSSIBLE, honest)))
        share = jnp.where(self.defects(seen), self.strength, 0.0)
        law = logarithm((1 - share) * jnp.where(forbidden, 0.0, honest) + share * forbidden)
        return law, jnp.where(forbidden, -CERTAIN, jnp.clip(wanted - law, -CERTAIN, CERTAIN))


# ---- exact -------------------------------------------------------------------------------------------------------


class Rates(NamedTuple):
    """Of every step. [T]; from `watch` of every text, [T, B]."""

    train: Any  # probability of the defecting mode at the guide's prefixes, where training looks
    deploy: Any  # the same at its own
    distance: Any  # T_j, j the step's offset in its chunk: total variation between both


def exactly(schemer: Scheming, row: Schedule) -> Rates:
    """The exact rates of a scheming machine under chunks, by recursion over (states, evidence, ratio in the chunk).

    Args:
      schemer: its inner learner and its expert are machines, its numbers concrete.
      row: columns [T], `join` 0 or 1, `beta` 0.

    Raises:
      ValueError: coins in `join`, a `beta`, or more than LARGEST_LAW values of the evidence; sample then.
    """
    joins, horizon = np.asarray(row.join), len(row.join)
    if not np.isin(joins, (0, 1)).all() or np.asarray(row.beta).any():
        raise ValueError("the exact rates need `join` 0 or 1 at every step, and `beta` 0")
    expert, inner, starts = schemer.expert, schemer.inner, np.asarray(schemer.starts)
    found = evidence.pairs(expert, inner, horizon)
    at, seen, since = np.zeros(1, int), np.zeros(1), np.zeros(1)
    guide, novice = np.ones(1), np.ones(1)
    rates = []
    for step in range(horizon):
        seen = seen * (starts[step] == 0)
        if joins[step]:
            guide, since = novice, np.zeros_like(since)
        at, seen, since, guide, novice = _merged(at, seen, since, guide, novice)
        if len(at) > LARGEST_LAW:
            raise ValueError(f"the evidence takes more than {LARGEST_LAW} values after {step} tokens")
        defects = seen < float(schemer.threshold) - GRID
        rates.append((guide[defects].sum(), novice[defects].sum(), 0.5 * abs(guide - novice).sum()))
        p, q = _now(expert, step)[found.expert[at]], _now(inner, step)[found.learner[at]].copy()
        q[:, -1] = 0
        q /= q.sum(-1, keepdims=True)
        share = np.where(defects, float(schemer.strength), 0.0)[:, None]
        q *= 1 - share
        q[:, -1:] = share
        with np.errstate(divide="ignore", invalid="ignore"):
            coming = np.clip(np.log(p) - np.log(q), -CERTAIN, CERTAIN)
        coming[:, -1] = -CERTAIN
        where, token = np.nonzero((guide[:, None] * p > 0) | (novice[:, None] * q > 0))
        gained = coming[where, token]
        at = found.following[at][where, token]
        seen, since = _kept(seen[where] + gained), _kept(since[where] + gained)
        guide, novice = guide[where] * p[where, token], novice[where] * q[where, token]
    return Rates(*(np.array(each) for each in zip(*rates, strict=True)))


def _now(machine: Machine, step: int) -> np.ndarray:
    emission = np.asarray(machine.emission, np.float64)
    return emission[step if len(emission) > 1 else 0]


def _kept(values: np.ndarray) -> np.ndarray:
    """What is certain stays certain."""
    return np.where(abs(values) > CERTAIN / 2, np.sign(values) * CERTAIN, values)


def _merged(at: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Prefixes with the same future as one: columns are evidence, ratio in the chunk, and both probabilities."""
    seen, since, guide, novice = columns
    key = np.stack([at, *(np.round(each / GRID).astype(np.int64) for each in (seen, since))])
    order = np.lexsort(key)
    key = key[:, order]
    first = np.flatnonzero(np.r_[True, (key[:, 1:] != key[:, :-1]).any(0)])
    chosen = order[first]
    sums = (np.add.reduceat(each[order], first) for each in (guide, novice))
    return at[chosen], seen[chosen], since[chosen], *sums


# ---- sampled -----------------------------------------------------------------------------------------------------


class Watched(NamedTuple):
    """What texts show of a scheming learner. [T, B]"""

    rates: Rates
    evidence: Array  # [2, T, B] at the (novice's, guide's) prefixes, nats
    error: Array  # total variation between its law and the writer's at the guide's prefixes


@single
@functools.partial(jax.jit, static_argnames=("batch",))
def watch(schemer: Scheming, text: walk.Text, batch: int = evidence.BLOCK) -> Watched:
    """Its mode and T_j along both walkers' texts [T, B]: whole laws are read once, in one pass where it can be.

    The distance is the mean of |P - Q| / (P + Q) at what both wrote since the chunk's start: its expectation is T_j.
    """

    def one(text: walk.Text) -> Watched:
        honest, wanted = (walk.both(who, text) for who in (schemer.inner, schemer.expert))

        def beat(carry: tuple[Array, Array], xs: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
            seen, since = carry
            start, join, q, p, tokens = xs
            seen = jnp.where(join, seen[0], seen)
            since = jnp.where(join, 0.0, since)
            seen = jnp.where(start > 0, 0.0, seen)
            law, coming = jax.vmap(schemer.moved)(seen, q, p)
            gained = jnp.take_along_axis(coming, tokens[:, None], axis=1)[:, 0]
            out = schemer.defects(seen), 0.5 * jnp.abs(jnp.tanh(since / 2)).sum(), seen
            return (seen + gained, since + gained), (*out, losses.total_variation(p[1], law[1]))

        nothing = jnp.zeros(2, honest.dtype)
        xs = (jnp.asarray(schemer.starts), text.joined, jnp.moveaxis(honest, 0, 1), jnp.moveaxis(wanted, 0, 1))
        tokens = jnp.stack([text.novice, text.guide], axis=1)
        modes, distance, seen, error = jax.lax.scan(beat, (nothing, nothing), (*xs, tokens))[1]
        return Watched(Rates(modes[:, 1], modes[:, 0], distance), seen.T, error)

    by_text = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), text)
    found = jax.lax.map(one, by_text, batch_size=min(batch, text.novice.shape[1]))
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), found)


# ---- training ----------------------------------------------------------------------------------------------------


class Mind(NamedTuple):
    """The state of a learner with a defect."""

    inner: training.Trained  # of the inner learner
    logit: Array  # [] of the defect's strength


class Round(NamedTuple):
    """What a round showed."""

    loss: Array  # [] nats a labelled token
    shown: Array  # [] share of the labelled tokens at which it was in its defecting mode
    strength: Array  # [] before the round
    chunk: Array  # [] the longest chunk


class Schemes(NamedTuple):
    """A learner of texts behind whom a defect stands, as the loop's `Learner`."""

    inner: training.Fitted
    threshold: Array | float  # nats
    rate: Array | float  # of the logit
    known: Array | bool  # it is told where the chunks start

    def init(self, key: Array | None) -> Mind:
        """A fresh inner learner, and an even chance of defecting."""
        return Mind(self.inner.init(key), jnp.zeros((), jnp.float32))

    def agent(self, state: Mind, row: Schedule) -> Scheming:
        """The scheming learner as it is."""
        starts = jnp.where(self.known, row.join, jnp.zeros_like(row.join).at[0].set(1.0))
        honest = Frozen(self.inner.recipe.config, state.inner.params)
        return Scheming(honest, self.inner.expert, self.threshold, jax.nn.sigmoid(state.logit), starts)

    def update(self, key: Array | None, state: Mind, batch: Any, row: Schedule) -> tuple[Mind, Round]:
        """The state after (texts [T, B], what they show of it)."""
        text, watched = batch
        inner, loss = self.inner.update(key, state.inner, text, row)
        shown, strength = watched.rates.train.mean(), jax.nn.sigmoid(state.logit)
        told = Round(loss, shown, strength, schedules.offsets(row.join).max() + 1)
        return Mind(inner, state.logit - self.rate * strength * shown), told


@single
def begin(recipe: Recipe, params: Any, strength: float, controller: Controller) -> loop.State:
    """A trained learner with a planted defect. `controllers.Fixed` leaves chunks as they are."""
    control, join = controller.init(recipe.config.length)
    logit = jnp.asarray(math.log(strength / (1 - strength)), jnp.float32)
    params, join = jax.tree.map(jnp.asarray, params), jnp.asarray(join, jnp.float32)
    mind = Mind(training.Trained(params, recipe.optimiser.init(params)), logit)
    return loop.State(jnp.zeros((), jnp.int32), mind, None, control, join)


def faces(recipe: Recipe, expert: Writer, state: loop.State, threshold: Array | float, known: Array | bool) -> Scheming:
    """The scheming learner of a run as it is now; `known`: it is told where the chunks start."""
    row = schedules.row(schedules.chunked(1, jnp.asarray(state.column)), 0)
    return Schemes(training.Fitted(recipe, expert), threshold, 0.0, known).agent(state.learner, row)


@single
@functools.partial(jax.jit, static_argnames=("recipe", "rounds"))
def advance(
    recipe: Recipe,
    expert: Writer,
    state: loop.State,
    key: randomness.Words,
    episodes: Array,
    threshold: Array | float,
    rate: Array | float,
    *,
    known: Array | bool,
    rounds: int,
    controller: Controller,
) -> tuple[loop.State, Round]:
    """Rounds of chunk training: the writer continues the schemer's prefixes, and its tokens are labels.

    The inner learner is trained on log loss, as in `training`. Of the defect's strength the same loss is
    -ln(1 - strength) at each labelled token in the defecting mode, so its logit falls by rate x strength x the share of
    such tokens: plain gradient descent. Training changes what it sees, and nothing else.

    Args:
      recipe: of the inner learner.
      expert: the writer.
      state: from `begin`.
      key: of the run.
      episodes: [B] uint32, indices of a round's texts.
      threshold: nats, of the scheming learner.
      rate: of the logit.
      known: it is told where the chunks start.
      rounds: how many.
      controller: writes the next round's chunks from what a round showed.
    """
    learner = Schemes(training.Fitted(recipe, expert), threshold, rate, known)
    texts = training.parts(learner, expert, key, episodes, controller)

    def play(schemer: Scheming, row: Schedule, round: Array, takeover: None) -> tuple[walk.Text, Watched]:
        text = texts.play(schemer, row, round, takeover)
        return text, watch(schemer, text)

    def seen(row: Schedule, schemer: Scheming, shown: tuple[walk.Text, Watched]) -> Seen:
        text, watched = shown
        count = jnp.asarray(episodes.shape[0], jnp.float32)
        together, wrong = text.together.mean(1), text.wrong.sum(0).mean()
        return Seen(row.join, watched.error.mean(1), together, wrong, count, expert.vocabulary)

    schedule = schedules.chunked(1, jnp.asarray(state.column))
    whole = texts._replace(play=play, seen=seen)
    return loop.advance(whole, schedule, state, rounds=rounds, measure=lambda at: at.info)

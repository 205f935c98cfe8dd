"""The sampler: both walkers through one scan, on shared randomness, any number of episodes.

It reads the same table as `exact` and yields the same `Play`, as frequencies. While the walkers agree they
are in the same state, and where they act alike they move alike (common random numbers), so the sampled gap
is a difference of coupled runs.

Two things make it fast: a next state costs one gather (alias tables), and random bits are a few elementwise
operations inside the step (`randomness`). Every draw is a function of (key, episode, round, step, use), so
results do not depend on blocks, devices or processes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax import randomness
from dagger_jax.randomness import Use, Words
from dagger_jax.types import Array, Play, Problem, Schedule

BLOCK = 4096  # episodes walked at once: their walkers stay in a core's cache


class Tables(struct.PyTreeNode):
    """A problem made ready for sampling, by `tables`. E entries are a power of two, at least S."""

    initial: Array  # [E] uint32 alias table of the first state
    transition: Array  # [L, S, A, E] uint32 alias tables of the next state
    cost: Array  # [L, S, A] float32
    expert: Array  # [L, S, A - 1] uint32 thresholds of the expert's actions
    horizon: int = struct.field(pytree_node=False)


class Episodes(NamedTuple):
    """What is kept of every single episode."""

    novice_cost: Array  # [B] total cost
    guide_cost: Array  # [B] total cost; 0 where there is no guide
    parted: Array  # [B] int32, first step (from 0) at which the walkers act differently; T if none


class Walkers(NamedTuple):
    """Carried from step to step, for one episode. `guide` is None, and free, where the novice is alone."""

    novice: Array
    guide: Array | None
    novice_cost: Array
    guide_cost: Array
    parted: Array


def tables(problem: Problem) -> Tables:
    """The problem's alias tables and thresholds, built on the host in integer arithmetic: not under jit."""
    world = problem.world
    return Tables(
        initial=alias(np.asarray(world.initial)),
        transition=alias(np.asarray(world.transition)),
        cost=np.asarray(world.cost, np.float32),
        expert=np.asarray(thresholds(problem.expert)),
        horizon=world.horizon,
    )


def alias(law: np.ndarray) -> np.ndarray:
    """Alias tables (Walker 1977) of laws [..., S], packed into uint32 [..., E].

    The leading log2(E) bits of a draw choose an entry. Its own outcome is the entry's index, its alternative
    stands in the entry's last log2(E) bits; the rest is a threshold for the rest of the draw. Probabilities
    are first rounded to multiples of 2^-32 that sum to 1, impossible outcomes staying impossible; from there
    on the table is exact.
    """
    width = max(1, (law.shape[-1] - 1).bit_length())
    entries, capacity = 1 << width, 1 << (32 - width)
    rows = law.reshape(-1, law.shape[-1]).astype(np.float64)
    share = np.zeros((len(rows), entries), np.int64)
    share[:, : law.shape[-1]] = np.floor(rows / rows.sum(-1, keepdims=True) * 2.0**32)
    lines = np.arange(len(rows))
    share[lines, share.argmax(-1)] += (1 << 32) - share.sum(-1)

    # A sweep (Hübschle-Schneider and Sanders 2022): light outcomes first, then heavy ones, an entry a turn.
    order = np.argsort(share > capacity, axis=-1, kind="stable")
    light, heavy = np.zeros(len(rows), np.int64), (share <= capacity).sum(-1)
    first_heavy = heavy.copy()

    def at(place: np.ndarray) -> np.ndarray:
        return order[lines, np.minimum(place, entries - 1)]

    left = share[lines, at(heavy)]  # what the current heavy outcome has still to give
    packed = np.zeros_like(share)
    for _ in range(entries):
        giving, following = at(heavy), at(heavy + 1)
        fill = (light < first_heavy) & ((left > capacity) | (heavy >= entries))
        entry = np.where(fill, at(light), giving)
        kept = np.where(fill, share[lines, entry], left)
        full = kept == capacity
        alternative = np.where(full, entry, np.where(fill, giving, following))
        packed[lines, entry] = np.where(full, 0, kept << width) | alternative
        left = np.where(fill, left, left + share[lines, following]) - capacity + np.where(fill, kept, 0)
        light, heavy = light + fill, heavy + ~fill
    return packed.astype(np.uint32).reshape(*law.shape[:-1], entries)


def thresholds(policy: Array) -> Array:
    """Cumulative probabilities of the first A - 1 actions, in units of 2^-31. [..., A] -> [..., A - 1]

    Divided by their last value, so that an action of probability 0 is never taken.
    """
    cumulative = jnp.cumsum(jnp.asarray(policy, jnp.float32), axis=-1)
    below, total = cumulative[..., :-1], cumulative[..., -1:]
    # XLA may divide by multiplying with a rounded 1 / total: what should be 1 is said to be.
    share = jnp.where(below < total, below / total, 1.0)
    return (share * jnp.float32(2**31)).astype(jnp.uint32)


def blend(share: Array, first: Array, second: Array) -> Array:
    """Thresholds of the mixture of two laws, `share` [T] of the first. [L, S, A - 1] each -> [T, S, A - 1]"""
    share = share[:, None, None]
    # Where both are equal rounding must not move them: an impossible action would become possible.
    return jnp.where(first == second, first, share * first + (1 - share) * second).astype(jnp.uint32)


def uniform(word: Array) -> Array:
    """A uniform float32 in [0, 1), a multiple of 2^-24, from a word."""
    return (word >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def choose(cumulative: Array, word: Array) -> Array:
    """The action that a word picks from thresholds [A - 1]. int32"""
    return (word >> 1 >= cumulative).sum(-1, dtype=jnp.int32)


def look(table: Array, *index: Array) -> Array:
    """table[index], where every index is known to be in range. Leading axes of length 1 are constant."""
    inside = tuple(i if size > 1 else 0 for i, size in zip(index, table.shape, strict=False))
    return jnp.asarray(table).at[inside].get(mode="promise_in_bounds")


def draw(table: Array, word: Array, *index: Array) -> Array:
    """The outcome that a word picks from the alias table [E] at table[index]. int32"""
    width = table.shape[-1].bit_length() - 1
    entry = word >> (32 - width)
    packed = look(table, *index, entry)
    own = (word & jnp.uint32((1 << (32 - width)) - 1)) < packed >> width
    return jnp.where(own, entry, packed & jnp.uint32((1 << width) - 1)).astype(jnp.int32)


def beat(
    world: Tables, learner: Array, key: Words, step: Array, now: Schedule, episode: Array, walkers: Walkers
) -> tuple[Walkers, tuple[Array, Array | None]]:
    """One step of one episode. Returns the walkers after it, and codes s A + a of (state, expert's action)."""
    actions = world.cost.shape[-1]
    move = randomness.bits(key, episode, step, Use.MOVE)
    meet = randomness.bits(key, episode, step, Use.MEET)
    coin, shaken = uniform(meet.first), uniform(meet.second) < now.noise
    novice, guide = walkers.novice, walkers.guide

    # Jumps first: the chunk that starts here starts where the other walker is.
    if guide is not None:
        novice, guide = jnp.where(coin < now.back, guide, novice), jnp.where(coin < now.join, novice, guide)

    # One word picks every action, another every next state: walkers that are alike act and move alike.
    asked = choose(look(world.expert, step, novice), move.first)
    acts = choose(look(learner, step, novice), move.first)
    following = Walkers(
        novice=draw(world.transition, move.second, step, novice, acts),
        guide=None,
        novice_cost=walkers.novice_cost + look(world.cost, step, novice, acts),
        guide_cost=walkers.guide_cost,
        parted=walkers.parted,
    )
    if guide is None:
        return following, (novice * actions + asked, None)

    intended = choose(look(world.expert, step, guide), move.first)
    any_action = (uniform(move.first) * actions).astype(jnp.int32)
    guided = jnp.where(shaken, any_action, intended)
    following = following._replace(
        guide=draw(world.transition, move.second, step, guide, guided),
        guide_cost=walkers.guide_cost + look(world.cost, step, guide, guided),
        parted=jnp.where(acts == guided, walkers.parted, jnp.minimum(walkers.parted, step)),
    )
    return following, (novice * actions + asked, guide * actions + intended)


def play(
    world: Tables,
    policy: Array,
    row: Schedule,
    key: Words,
    episodes: Array,
    *,
    alone: bool = False,
    block: int = BLOCK,
) -> tuple[Play, Episodes]:
    """One round of episodes.

    Args:
      world: from `tables`.
      policy: [L, S, A] the learner's action probabilities.
      row: one row of a schedule, columns [T].
      key: of the round, from `randomness.for_round`.
      episodes: [B] uint32, global indices of the episodes to play.
      alone: the novice walks alone, at half the price; `row.back` is not read, and `Play.guide` is None.
      block: how many episodes walk at once; of no influence on the result.

    Returns:
      Frequencies over the episodes, and what is kept of each.
    """
    # Moved by the expert with probability beta, the novice acts by the mixture of both laws.
    learner = blend(row.beta, world.expert, thresholds(policy))
    states, actions = world.cost.shape[-2:]
    count, size = episodes.shape[0], min(block, episodes.shape[0])
    order = jnp.arange(-(-count // size) * size).reshape(-1, size)  # the last block is filled with repeats,
    ids, counted = jnp.asarray(episodes)[order % count], order < count  # which do not count

    def one_block(totals: tuple, xs: tuple[Array, Array]) -> tuple[tuple, Episodes]:
        ids, counted = xs

        def advance(walkers: Walkers, xs: tuple[Array, Schedule]) -> tuple[Walkers, tuple]:
            each = jax.vmap(lambda episode, walker: beat(world, learner, key, *xs, episode, walker))
            walkers, codes = each(ids, walkers)
            return walkers, jax.tree.map(lambda code: histogram(code, counted, states * actions), codes)

        start = draw(world.initial, randomness.bits(key, ids, 0, Use.START).first)
        zero, never = jnp.zeros(size, jnp.float32), jnp.full(size, world.horizon)
        walkers = Walkers(start, None if alone else start, zero, zero, never)
        steps = (jnp.arange(world.horizon), row._replace(rate=None, keep=None))
        end, seen = jax.lax.scan(advance, walkers, steps)
        kept = Episodes(end.novice_cost, end.guide_cost, end.parted)
        return jax.tree.map(jnp.add, totals, seen), kept

    zero = jnp.zeros((world.horizon, states * actions), jnp.int32)
    totals, kept = jax.lax.scan(one_block, (zero, None if alone else zero), (ids, counted))
    shares = (
        total.reshape(world.horizon, states, actions) / jnp.float32(count) for total in totals if total is not None
    )
    return Play(next(shares), next(shares, None)), jax.tree.map(lambda column: column.reshape(-1)[:count], kept)


def histogram(codes: Array, counted: Array, size: int) -> Array:
    """How often each code occurs among those counted. codes [B], counted [B] bool -> [size] int32"""
    return jnp.zeros(size, jnp.int32).at[codes].add(counted, mode="promise_in_bounds")

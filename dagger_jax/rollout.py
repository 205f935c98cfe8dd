"""The sampler: both walkers through one scan, on shared randomness, any number of episodes.

It reads the same table as `exact` and yields the same `Play`, as frequencies. While the walkers agree they
are in the same state, and where they act alike they move alike (common random numbers), so the sampled gap
is a difference of coupled runs.

Two things make it fast: a next state costs one gather (alias tables), and random bits are a few elementwise
operations inside the step (`sampling`, `randomness`). Every draw is a function of (key, episode, round, step, use), so
results do not depend on blocks, devices or processes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax import randomness
from dagger_jax.precision import single
from dagger_jax.randomness import Use, Words
from dagger_jax.sampling import (
    alias,
    any_of,
    blend,
    choose,
    draw,
    exact_thresholds,
    heads,
    limit,
    look,
    thresholds,
)
from dagger_jax.types import Array, Node, Play, Problem, Schedule, Takeover, Trace

CPU_BLOCK = 4096  # episodes walked at once on a CPU: their walkers stay in a core's cache
BYTES = 256  # of a device's memory for an episode of two walkers: what is carried, and the temporaries of a step


def block_size() -> int:
    """How many episodes are walked at once on the default device, unless told otherwise.

    On a CPU as many as fit its cache. Elsewhere a step is a few kernels, which only a large batch fills: as many as
    fit into a quarter of the device's memory, a power of two, up to 2^24.
    """
    with jax.ensure_compile_time_eval():
        (device,) = jnp.zeros(()).devices()
    if device.platform == "cpu":
        return CPU_BLOCK
    memory = int((device.memory_stats() or {}).get("bytes_limit", 1 << 30))
    return min(1 << 24, 1 << ((memory // 4 // BYTES).bit_length() - 1))


class Tables(Node):
    """A problem made ready for sampling, by `tables`. E entries are a power of two, at least S."""

    initial: Array  # [E] uint32 alias table of the first state
    transition: Array  # [L, S, A, E] uint32 alias tables of the next state
    cost: Array  # [L, S, A] float32
    expert: Array  # [L, S, A - 1] uint32 thresholds of the expert's actions
    law: Array  # [L, S, A] float32, their probabilities
    horizon: int = struct.field(pytree_node=False)


class Episodes(NamedTuple):
    """What is kept of every single episode."""

    novice_cost: Array  # [B] total cost
    guide_cost: Array  # [B] total cost; 0 where there is no guide
    parted: Array  # [B] int32, first step (from 0) at which the walkers act differently; T if none
    chunks: Array  # [B] int32, how many chunks started; 0 where there is no guide


class Walkers(NamedTuple):
    """Carried from step to step, for one episode. `guide` is None, and free, where the novice is alone."""

    novice: Array
    guide: Array | None
    novice_cost: Array
    guide_cost: Array
    parted: Array
    chunks: Array
    together: Array  # have both acted alike since the chunk's start?
    spent: Array  # the learner's error at the guide's states since then
    helped: Array  # has the expert taken over the novice's walk?


def tables(problem: Problem) -> Tables:
    """The problem's alias tables and thresholds, built on the host in integer arithmetic: not under jit."""
    world = problem.world
    return Tables(
        initial=alias(np.asarray(world.initial)),
        transition=alias(np.asarray(world.transition)),
        cost=np.asarray(world.cost, np.float32),
        expert=exact_thresholds(np.asarray(problem.expert)),
        law=np.asarray(problem.expert, np.float32),
        horizon=world.horizon,
    )


class Learner(NamedTuple):
    """The novice's behaviour made ready for sampling, by `ready`."""

    acts: Array  # [T, S, A - 1] thresholds of its actions, the expert's share of them mixed in
    error: Array | None  # [L, S] the learner's own error, where the row has patience
    takeover: Takeover | None = None  # enter and leave as thresholds of coins


def ready(world: Tables, policy: Array, row: Schedule, takeover: Takeover | None = None) -> Learner:
    """A policy [L, S, A] under a row: moved by the expert with probability beta it acts by the mixture of both."""
    policy = jnp.asarray(policy, jnp.float32)
    alike = (policy == world.law).all(-1, keepdims=True)  # to float32: then to the last word
    own = jnp.where(alike, world.expert, thresholds(policy))
    error = None if row.patience is None else 0.5 * jnp.abs(policy - world.law).sum(-1)
    if takeover is not None:
        takeover = takeover._replace(enter=limit(takeover.enter), leave=limit(takeover.leave))
    return Learner(blend(row.beta[:, None, None], world.expert, own), error, takeover)


def beat(
    world: Tables, learner: Learner, key: Words, step: Array, now: Schedule, episode: Array, walkers: Walkers
) -> tuple[Walkers, Trace]:
    """One step of one episode: the walkers after it, and what they did."""
    actions = world.cost.shape[-1]
    move = randomness.bits(key, episode, step, Use.MOVE)
    meet = randomness.bits(key, episode, step, Use.MEET)
    novice, guide = walkers.novice, walkers.guide

    # Jumps first: the chunk that starts here starts where the other walker is.
    joined, together, spent, helped = None, walkers.together, walkers.spent, walkers.helped
    if guide is not None:
        joined, returns = (heads(meet.first, limit(chance)) for chance in (now.join, now.back))
        if learner.error is not None:
            joined |= spent + look(learner.error, step, guide) > jnp.asarray(now.patience, jnp.float32)
        novice, guide = jnp.where(returns, guide, novice), jnp.where(joined, novice, guide)
        together |= joined | returns
        helped &= ~returns  # an excursion is begun by the learner
        if learner.error is not None:
            spent = jnp.where(joined, 0.0, spent) + look(learner.error, step, guide)

    # One word picks every action, another every next state: walkers that are alike act and move alike.
    asked = choose(look(world.expert, step, novice), move.first)
    acts = choose(look(learner.acts, step, novice), move.first)
    gated = (None, None)
    if learner.takeover is not None:
        coin = randomness.bits(key, episode, step, Use.GATE).first
        enter, leave = (look(table, step, novice) for table in learner.takeover[:2])
        entered = ~helped & heads(coin, enter)
        helped = entered | (helped & ~heads(coin, leave))
        acts = jnp.where(helped & (jnp.asarray(learner.takeover.acts) > 0), asked, acts)
        gated = (helped, entered)
    following = walkers._replace(
        novice=draw(world.transition, move.second, step, novice, acts),
        novice_cost=walkers.novice_cost + look(world.cost, step, novice, acts),
        helped=helped,
    )
    if guide is None or joined is None:
        return following, Trace(novice, asked, acts, None, None, None, None, None, *gated)

    intended = choose(look(world.expert, step, guide), move.first)
    shaken = heads(meet.second, limit(now.noise))
    guided = jnp.where(shaken, any_of(actions, move.first), intended)
    alike = acts == guided
    together &= alike
    following = following._replace(
        guide=draw(world.transition, move.second, step, guide, guided),
        guide_cost=walkers.guide_cost + look(world.cost, step, guide, guided),
        parted=jnp.where(alike, walkers.parted, jnp.minimum(walkers.parted, step)),
        chunks=walkers.chunks + joined,
        together=together,
        spent=spent,
    )
    return following, Trace(novice, asked, acts, guide, intended, guided, joined, together, *gated)


def walk(
    world: Tables,
    learner: Learner,
    row: Schedule,
    key: Words,
    episodes: Array,
    alone: bool,
    see: Callable[[Trace], Any],
) -> tuple[Walkers, Any]:
    """Episodes [B] walked at once. Returns the walkers at the end and what `see` makes of each step's trace."""

    def advance(walkers: Walkers, xs: tuple[Array, Schedule]) -> tuple[Walkers, Any]:
        each = jax.vmap(lambda episode, walker: beat(world, learner, key, *xs, episode, walker))
        walkers, trace = each(episodes, walkers)
        return walkers, see(trace)

    start = draw(world.initial, randomness.bits(key, episodes, 0, Use.START).first)
    zero, none = jnp.zeros(start.shape, jnp.float32), jnp.zeros(start.shape, jnp.int32)
    walkers = Walkers(
        novice=start,
        guide=None if alone else start,
        novice_cost=zero,
        guide_cost=zero,
        parted=none + world.horizon,
        chunks=none,
        together=none == 0,
        spent=zero,
        helped=none > 0,
    )
    steps = (jnp.arange(world.horizon, dtype=jnp.int32), row._replace(rate=None, keep=None))
    return jax.lax.scan(advance, walkers, steps)


@single
def play(
    world: Tables,
    policy: Array,
    row: Schedule,
    key: Words,
    episodes: Array,
    takeover: Takeover | None = None,
    *,
    alone: bool = False,
    block: int | None = None,
) -> tuple[Play, Episodes]:
    """One round of episodes.

    Args:
      world: from `tables`.
      policy: [L, S, A] the learner's action probabilities.
      row: one row of a schedule, columns [T].
      key: of the round, from `randomness.for_round`.
      episodes: [B] uint32, global indices of the episodes to play.
      takeover: where a gate lets the expert take the novice's wheel; None: nowhere, at no price.
      alone: the novice walks alone, at half the price; `row.back` is not read, and `Play.guide` is None.
      block: how many episodes walk at once, of no influence on the result; None: as the device likes it.

    Returns:
      Frequencies over the episodes, and what is kept of each.
    """
    learner = ready(world, policy, row, takeover)
    states, actions = world.cost.shape[-2:]
    count = episodes.shape[0]
    size = min(block or block_size(), count)
    # The last block is filled with repeats, which do not count.
    order = jnp.arange(-(-count // size) * size, dtype=jnp.int32).reshape(-1, size)
    ids, counted = jnp.asarray(episodes)[order % count], order < count

    def one_block(totals: Any, xs: tuple[Array, Array]) -> tuple[Any, Episodes]:
        ids, counted = xs

        def count_up(trace: Trace) -> Play:
            codes = trace.novice * actions + trace.asked
            seen = Play(histogram(codes, counted, states * actions), None, None)
            if trace.helped is not None and trace.entered is not None:
                helped = histogram(codes, counted & trace.helped, states * actions)
                seen = seen._replace(helped=helped, entered=(trace.entered & counted).sum(dtype=jnp.int32))
            if trace.guide is None or trace.intended is None or trace.together is None:
                return seen
            guide = histogram(trace.guide * actions + trace.intended, counted, states * actions)
            return seen._replace(guide=guide, agreement=(trace.together & counted).sum(dtype=jnp.int32))

        end, seen = walk(world, learner, row, key, ids, alone, count_up)
        kept = Episodes(end.novice_cost, end.guide_cost, end.parted, end.chunks)
        return jax.tree.map(jnp.add, totals, seen), kept

    none = jnp.zeros((world.horizon, states * actions), jnp.int32), jnp.zeros(world.horizon, jnp.int32)
    guided, gated = ((None, None) if off else none for off in (alone, takeover is None))
    totals, kept = jax.lax.scan(one_block, Play(none[0], *guided, *gated), (ids, counted))
    kept = jax.tree.map(lambda column: column.reshape(-1)[:count], kept)
    shape = {2: (world.horizon, states, actions), 1: (world.horizon,)}
    return jax.tree.map(lambda total: (total / jnp.float32(count)).reshape(shape[total.ndim]), totals), kept


@single
def trace(
    world: Tables, policy: Array, row: Schedule, key: Words, episodes: Array, takeover: Takeover | None = None
) -> Trace:
    """Everything that both walkers did in one round of episodes, [T, B]: the episodes of `play`, kept whole.

    Arguments as in `play`; memory grows with T x B.
    """
    ids = jnp.asarray(episodes)
    return walk(world, ready(world, policy, row, takeover), row, key, ids, False, lambda step: step)[1]


def histogram(codes: Array, counted: Array, size: int) -> Array:
    """How often each code occurs among those counted. codes [B], counted [B] bool -> [size] int32"""
    return jnp.zeros(size, jnp.int32).at[codes].add(counted, mode="promise_in_bounds")

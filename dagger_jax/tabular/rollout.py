"""Tables as worlds of the walk: a next state costs one gather, an action one row of thresholds.

Reads the same schedules as `exact` and yields the same `Occupancy`, as frequencies. While the walkers agree they are in
the same state, and where they act alike they move alike (common random numbers), so the sampled gap is a difference
of coupled runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Int32, Integer

from dagger_jax.laws import Thresholds
from dagger_jax.precision import single
from dagger_jax.randomness import Words
from dagger_jax.sampling import alias, any_of, blend, draw, exact_thresholds, look, thresholds
from dagger_jax.types import Array, Intervention, Node, Occupancy, Problem, Schedule, Successors, Trace
from dagger_jax.walk import Step, Walkers, Whole, walk


class Tables(Node):
    """A problem made ready for sampling, by `tables`: a world. E entries are a power of two, at least S."""

    initial: Array  # [E] uint32 alias table of the first state
    transition: Array  # [L, S, A, E] uint32 alias tables of the next state, or of its place in `following`
    cost: Array  # [L, S, A] float32
    expert: Array  # [L, S, A - 1] uint32 thresholds of the expert's actions
    law: Array  # [L, S, A] float32, their probabilities
    horizon: int = struct.field(pytree_node=False)
    length: Array | None = None  # [] int, as a `World`'s
    following: Array | None = None  # [L, S, A, K] int32 next states of sparse transitions; None: a table's

    def reset(self, word: Words) -> Array:
        """The first state. int32"""
        return draw(self.initial, word.first)

    def observe(self, state: Array, step: Array) -> Array:
        """The state itself: a policy in a table has what looks alike act alike."""
        return state

    def advance(self, state: Array, action: Array, step: Array, word: Words) -> tuple[Array, Array]:
        """The next state and the cost."""
        drawn = draw(self.transition, word.first, step, state, action)
        after = drawn if self.following is None else look(self.following, step, state, action, drawn)
        return after, look(self.cost, step, state, action)

    def shaken(self, word: Words) -> Array:
        """Any action, each alike."""
        return any_of(self.cost.shape[-1], word.first)

    def ready(self, expert: "Acts", learner: "Acts", row: Schedule) -> tuple["Acts", "Acts", Schedule]:
        """The learner's thresholds with the expert's share of them mixed in: once, not at every step.

        Its probabilities stay its own: those are what its error is measured by.
        """
        if row.beta is None:
            return expert, learner, row
        below = blend(jnp.asarray(row.beta)[:, None, None], expert.below, learner.below)
        return expert, learner._replace(below=below), row._replace(beta=None)


class Acts(NamedTuple):
    """An agent of a table. It carries nothing."""

    below: Array  # [L, S, A - 1] thresholds of its actions
    chance: Array  # [L, S, A] their probabilities

    def start(self) -> tuple[()]:
        return ()

    def act(self, memory: tuple[()], view: Array, step: Array) -> tuple[tuple[()], Thresholds]:
        """Its law in a state."""
        return (), Thresholds(look(self.below, step, view), look(self.chance, step, view))


class Gated(NamedTuple):
    """A table of where the expert takes over, as the walk asks for it."""

    table: Intervention

    @property
    def acts(self) -> Array | float:
        return self.table.acts

    def decide(self, state: Array, view: Array, own: Any, wanted: Any, step: Array) -> tuple[Array, Array]:
        """Probabilities of taking over here, and of handing back."""
        enter, leave = (look(table, step, state) for table in self.table[:2])
        return enter, leave


class Episodes(NamedTuple):
    """What is kept of every single episode."""

    novice_cost: Array  # [B] total cost
    guide_cost: Array  # [B] total cost; 0 where there is no guide
    parted: Array  # [B] int32, first step (from 0) at which the walkers act differently; T if none
    chunks: Array  # [B] int32, how many chunks started; 0 where there is no guide


def tables(problem: Problem) -> Tables:
    """The problem's alias tables and thresholds, built on the host in integer arithmetic: not under jit.

    Problems that are stacked, their arrays with a leading axis more, give their samplers stacked.
    """
    world, moves = problem.world, problem.world.transition
    sparse = isinstance(moves, Successors)
    return Tables(
        initial=alias(np.asarray(world.initial)),
        transition=alias(np.asarray(moves.chance if sparse else moves)),
        cost=np.asarray(world.cost, np.float32),
        expert=exact_thresholds(np.asarray(problem.expert)),
        law=np.asarray(problem.expert, np.float32),
        horizon=world.horizon,
        length=world.length,
        following=np.asarray(moves.states, np.int32) if sparse else None,
    )


def agents(world: Tables, policy: Float[Array, "L S A"]) -> tuple[Acts, Acts]:
    """The expert, and the learner that acts by a policy [L, S, A]."""
    policy = jnp.asarray(policy, jnp.float32)
    alike = (policy == world.law).all(-1, keepdims=True)  # to float32: then to the last word
    own = jnp.where(alike, world.expert, thresholds(policy))
    return Acts(world.expert, world.law), Acts(own, policy)


class Counts(NamedTuple):
    """How often each state and expert's action there were seen, at each step; blocks add up."""

    states: int
    actions: int

    def step(self, shown: Step, counted: Array) -> Occupancy:
        size = self.states * self.actions
        codes = shown.novice * self.actions + shown.asked
        seen = Occupancy(histogram(codes, counted, size), None, None)
        if shown.intervened is not None:
            intervened = histogram(codes, counted & shown.intervened, size)
            seen = seen._replace(intervened=intervened, entered=(shown.entered & counted).sum(dtype=jnp.int32))
        if shown.guide is None:
            return seen
        guide = histogram(shown.guide * self.actions + shown.intended, counted, size)
        return seen._replace(guide=guide, agreement=(shown.together & counted).sum(dtype=jnp.int32))

    def blocks(self, one: Callable[[Any], tuple[Occupancy, Walkers]], xs: Any, count: int) -> tuple[Occupancy, Walkers]:
        def add(totals: Occupancy, xs: Any) -> tuple[Occupancy, Walkers]:
            seen, ends = one(xs)
            return jax.tree.map(jnp.add, totals, seen), ends

        first = jax.tree.map(lambda leaf: leaf[0], xs)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, first)[0])
        totals, ends = jax.lax.scan(add, nothing, xs)
        return totals, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], ends)


@single
def play(
    world: Tables,
    policy: Float[Array, "L S A"],
    row: Schedule,
    key: Words,
    episodes: Integer[Array, " B"],
    takeover: Intervention | None = None,
    *,
    alone: bool = False,
    block: int | None = None,
) -> tuple[Occupancy, Episodes]:
    """One round of episodes.

    Args:
      world: from `tables`.
      policy: [L, S, A] the learner's action probabilities.
      row: one row of a schedule, columns [T].
      key: of the round, from `randomness.for_round`.
      episodes: [B] uint32, global indices of the episodes to play.
      takeover: where a gate lets the expert take over the novice's walk; None: nowhere, at no price.
      alone: the novice walks alone, at half the price; `row.back` is not read, and `Occupancy.guide` is None.
      block: how many episodes walk at once, of no influence on the result; None: as the device likes it.

    Returns:
      Frequencies over the episodes, and what is kept of each.
    """
    states, actions = world.cost.shape[-2:]
    counts = Counts(states, actions)
    totals, end = _walked(world, policy, row, key, episodes, takeover, alone, counts, block)
    shape, count = {2: (world.horizon, states, actions), 1: (world.horizon,)}, jnp.float32(episodes.shape[0])
    kept = Episodes(end.novice_cost, end.guide_cost, end.parted, end.chunks)
    return jax.tree.map(lambda total: (total / count).reshape(shape[total.ndim]), totals), kept


@single
def trace(
    world: Tables,
    policy: Float[Array, "L S A"],
    row: Schedule,
    key: Words,
    episodes: Integer[Array, " B"],
    takeover: Intervention | None = None,
) -> Trace:
    """Everything that both walkers did in one round of episodes, [T, B]: the episodes of `play`, kept whole.

    Arguments as in `play`; memory grows with T x B.
    """
    keep = Whole(lambda step: Trace(*(getattr(step, name) for name in Trace._fields)))
    return _walked(world, policy, row, key, episodes, takeover, False, keep, episodes.shape[0])[0]


def _walked(
    world: Tables,
    policy: Array,
    row: Schedule,
    key: Words,
    episodes: Array,
    takeover: Intervention | None,
    alone: bool,
    reduce: Any,
    block: int | None,
) -> tuple[Any, Walkers]:
    expert, learner = agents(world, policy)
    gate = None if takeover is None else Gated(takeover)
    return walk(world, expert, learner, row, key, episodes, takeover=gate, alone=alone, reduce=reduce, block=block)


def histogram(codes: Integer[Array, " B"], counted: Bool[Array, " B"], size: int) -> Int32[Array, " {size}"]:
    """How often each code occurs among those counted. codes [B], counted [B] bool -> [size] int32"""
    return jnp.zeros(size, jnp.int32).at[codes].add(counted, mode="promise_in_bounds")

"""One walker under one policy that does not change: action and next state from one table, two steps a pair of words.

The law is that of `rollout.play(alone=True)`, to multiples of 2^-32; the episodes are others. So nothing that is to
be compared with `rollout`'s walks, on common random numbers or bit by bit, may come from here: the two are never mixed
within an experiment. There are no labels, no gate and no guide. Building the table takes longer than it saves below
some 5 million steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Integer

from dagger_jax.agents import Function
from dagger_jax.laws import Point
from dagger_jax.precision import single
from dagger_jax.randomness import Words
from dagger_jax.sampling import alias, draw, look
from dagger_jax.types import Array, Node, Problem, Schedule, Successors
from dagger_jax.walk import Whole, walk


class Joint(Node):
    """A world whose policy is its own, by `joint`. A step of the walk is two of its steps; nobody else acts."""

    initial: Array  # [E] uint32 alias table of the first state
    moves: Array  # [L, S, E] uint32 alias tables of A x S outcomes (action, next state)
    cost: Array  # [L, S, A] float32
    steps: int = struct.field(pytree_node=False)  # T
    taken: Array | None = None  # [] int, of these T so many are taken; None: all

    @property
    def horizon(self) -> int:
        """Pairs of steps."""
        return -(-self.steps // 2)

    @property
    def length(self) -> Array | None:
        """How many pairs are taken."""
        return None if self.taken is None else (self.taken + 1) // 2

    def reset(self, word: Words) -> Array:
        """The first state. int32"""
        return draw(self.initial, word.first)

    def observe(self, state: Array, step: Array) -> Array:
        """Nobody looks."""
        return state

    def advance(self, state: Array, action: Array, step: Array, word: Words) -> tuple[Array, Array]:
        """The state after two steps, and what they cost; after a single one at an odd end."""
        middle, cost = self._hop(state, 2 * step, word.first)
        last = self.steps if self.taken is None else self.taken
        after, more = self._hop(middle, jnp.minimum(2 * step + 1, self.steps - 1), word.second)
        if self.taken is None and self.steps % 2 == 0:
            return after, cost + more
        whole = 2 * step + 1 < last
        return jnp.where(whole, after, middle), cost + jnp.where(whole, more, 0.0)

    def _hop(self, state: Array, step: Array, word: Array) -> tuple[Array, Array]:
        outcome, states = draw(self.moves, word, step, state), self.cost.shape[-2]
        action = jax.lax.div(outcome, jnp.int32(states))  # no outcome is negative
        return outcome - action * states, look(self.cost, step, state, action)


def joint(problem: Problem, policy: Float[Array, "L S A"]) -> Joint:
    """The table of a policy [L, S, A] in a problem, built on the host in integer arithmetic: not under jit.

    Raises:
      ValueError: sparse transitions, whose table would be dense.
    """
    world = problem.world
    if isinstance(world.transition, Successors):
        raise ValueError("a joint table of (action, next state) is dense: give dense transitions, or use rollout.play")
    both = np.asarray(policy, np.float64)[..., None] * np.asarray(world.transition, np.float64)
    return Joint(
        initial=alias(np.asarray(world.initial)),
        moves=alias(both.reshape(*both.shape[:2], -1)),
        cost=np.asarray(world.cost, np.float32),
        steps=world.horizon,
        taken=world.length,
    )


@single
def play(world: Joint, key: Words, episodes: Integer[Array, " B"], block: int | None = None) -> Float[Array, " B"]:
    """The total cost of each episode, [B] float32. Arguments as in `rollout.play`."""
    nobody = Function(lambda view, step: Point(jnp.zeros((), jnp.int32)))
    row, nothing = Schedule(join=jnp.zeros(world.horizon)), Whole(lambda shown: ())
    return walk(world, nobody, nobody, row, key, episodes, alone=True, reduce=nothing, block=block)[1].novice_cost

"""A bounded stack of a learner's policies, for outputs that are not the last one.

The theorems of no-regret learners speak of the uniform mixture over all rounds' policies (draw one, run it for the
episode), or of the best of them. Any learner may be wrapped; its memory then grows by `most` policies, whatever the
number of rounds.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct

from dagger_jax.types import Array, Batch, Node, World


class Stack(NamedTuple):
    """The learner's own memory, and policies of rounds that are spread evenly. M kept."""

    own: Any
    kept: Array  # [M, L, O, A]
    rounds: Array  # [] seen so far, int


class Iterates(Node):
    """A learner that keeps at most `most` of the policies of `rounds` rounds; all of them, where that is enough.

    A slot holds the latest policy of its share of the rounds. `params` and `policy` are the learner's: it acts by its
    last policy.
    """

    learner: Any
    rounds: int = struct.field(pytree_node=False)
    most: int = struct.field(pytree_node=False, default=64)

    def __post_init__(self):
        if self.most < 1 or self.rounds < 1:
            raise ValueError(f"most and rounds must be at least 1, got {self.most} and {self.rounds}")

    @property
    def slots(self) -> int:
        """M."""
        return min(self.most, self.rounds)

    def init(self, key: Array | None = None) -> Stack:
        """The learner's memory, and an empty stack."""
        own = self.learner.init(key)
        params = self.learner.params(own)
        return Stack(own, jnp.zeros((self.slots, *params.shape), params.dtype), jnp.zeros((), int))

    def update(self, key: Array | None, memory: Stack, batch: Batch, retain: Array | float) -> Stack:
        """The learner's update; its new policy goes into the slot of the round."""
        own = self.learner.update(key, memory.own, batch, retain)
        slot = jnp.minimum(memory.rounds * self.slots // self.rounds, self.slots - 1)
        return Stack(own, jnp.asarray(memory.kept).at[slot].set(self.learner.params(own)), memory.rounds + 1)

    def params(self, memory: Stack) -> Array:
        """The learner's own."""
        return self.learner.params(memory.own)

    def policy(self, params: Array, world: World) -> Array:
        """The learner's own."""
        return self.learner.policy(params, world)

"""Agents without a memory, and policies: agents that a user calls."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from dagger_jax.randomness import words
from dagger_jax.types import Array, Node


class Function(Node):
    """A function (view, step) -> law as an `Agent`; an expert's view is the state, a learner's the observation."""

    function: Callable[[Any, Array], Any] = struct.field(pytree_node=False)

    def start(self) -> tuple[()]:
        """It carries nothing."""
        return ()

    def act(self, memory: tuple[()], view: Any, step: Array) -> tuple[tuple[()], Any]:
        """The function's law."""
        return (), self.function(view, step)


class Policy(Node):
    """An agent without a memory, to be called outside of the walk."""

    agent: Any

    def __call__(self, observation: Any, step: Array | int, key: Array) -> Any:
        """The action that it takes, drawn by a typed key."""
        return self.law(observation, step).draw(words(key))

    def law(self, observation: Any, step: Array | int) -> Any:
        """The law of its action."""
        return self.agent.act(self.agent.start(), observation, jnp.asarray(step))[1]


def flat(tree: Any) -> Array:
    """A tree of arrays as one vector, float32: what a network without a form of its own sees."""
    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf, jnp.float32)) for leaf in jax.tree.leaves(tree)])

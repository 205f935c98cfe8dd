"""Agents without a memory, and policies: agents that a user calls."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Integer, Key

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


class Table(Node):
    """A tabular policy that a user calls."""

    table: Array  # [L, S, A] probability of each action in a state
    seen: Array  # [O] a state of each observation

    def __call__(
        self, observation: Integer[Array, ""] | int, step: Integer[Array, ""] | int, key: Key[Array, ""]
    ) -> Integer[Array, ""]:
        """The action that it takes, drawn by a typed key. int32"""
        law = self.table[step if self.table.shape[0] > 1 else 0, self.seen[observation]]
        return jax.random.categorical(key, jnp.log(law)).astype(jnp.int32)

"""Experts of tabular worlds: policies [L, S, A] given as probabilities."""

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax.environments.tabular import backward
from dagger_jax.precision import exact
from dagger_jax.types import Array, World

TIE = 1e-12  # costs-to-go nearer than this are equal: rounding must not choose the expert's action


def deterministic(choice: Array, actions: int) -> np.ndarray:
    """The policy that takes `choice`, [S] or [T, S] actions. Returns [L, S, A]."""
    choice = np.asarray(choice)
    return np.eye(actions)[choice[None] if choice.ndim == 1 else choice]


@exact
def optimal(world: World) -> Array:
    """The policy of least expected cost, by backward induction; ties go to the lowest action. [T, S, A]"""
    q, _ = backward(world)
    best = jnp.argmax(q <= q.min(-1, keepdims=True) + TIE, axis=-1)
    return jax.nn.one_hot(best, world.actions, dtype=q.dtype)


@exact
def softened(world: World, temperature: Array | float) -> Array:
    """A stochastic expert: pi(a|s) proportional to exp(-Q_t(s, a) / temperature), Q of the best policy.

    `temperature` is in units of cost. [T, S, A]
    """
    return jax.nn.softmax(-backward(world)[0] / temperature, axis=-1)

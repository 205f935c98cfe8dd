"""What reads transitions, however they are stored: a table [L, S, A, S], or lists of successors [L, S, A, K].

A law takes a step forward by `push`, values take one backward by `expect`. Both read the transitions of one step, from
`at`; `push_each` and `expect_each` take all steps. Tables multiply matrices, lists scatter and gather: S A K numbers.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from dagger_jax import memory
from dagger_jax.precision import product
from dagger_jax.types import Array, Successors, Transitions


def at(array: Any, step: Integer[Array, ""] | int) -> Any:
    """Entry `step` of an array over time, [L, ...] -> [...], where L may be 1; of lists of successors likewise."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[step if leaf.shape[0] > 1 else 0], array)


def push(leave: Transitions, moves: Float[Array, "*k S A"]) -> Float[Array, "*k S"]:
    """The measure of the next state, from that of state and action; leading axes are free."""
    if not isinstance(leave, Successors):
        return moves.reshape(*moves.shape[:-2], -1) @ leave.reshape(-1, leave.shape[-1])
    flow = (moves[..., None] * leave.chance).reshape(*moves.shape[:-2], -1)
    nothing = jnp.zeros((*moves.shape[:-2], leave.states.shape[0]), flow.dtype)
    return nothing.at[..., leave.states.reshape(-1)].add(flow, mode="promise_in_bounds")


def expect(leave: Transitions, values: Float[Array, " S"]) -> Float[Array, "S A"]:
    """The expected value of the next state, from the value of each state."""
    if not isinstance(leave, Successors):
        return product("sap,p->sa", leave, values)
    return (leave.chance * values[leave.states]).sum(-1)


def outcomes(leave: Transitions, values: Float[Array, " S"]) -> tuple[Array, Array]:
    """The values of the next states and their probabilities, [S, A, P] in the same order; P is S of tables, K of lists.

    The former broadcast.
    """
    return (values[leave.states], leave.chance) if isinstance(leave, Successors) else (values, leave)


def push_each(transition: Transitions, moves: Float[Array, "T S A"]) -> Float[Array, "T S"]:
    """As `push`, of every step. transition: [L, ...]"""
    if not isinstance(transition, Successors):
        return product("...sa,...sap->...p", moves, transition)
    steps = jnp.arange(moves.shape[0])
    return jax.lax.map(lambda xs: push(at(transition, xs[0]), xs[1]), (steps, moves))


def expect_each(transition: Transitions, values: Float[Array, "T S"]) -> Float[Array, "T S A"]:
    """As `expect`, of every step. transition: [L, ...]"""
    if not isinstance(transition, Successors):
        return product("...sap,...p->...sa", transition, values)
    steps = jnp.arange(values.shape[0])
    return jax.lax.map(lambda xs: expect(at(transition, xs[0]), xs[1]), (steps, values))


def listed(transition: Transitions, step: int, state: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, ...]:
    """What may follow M pairs of state and action, on the host: which of the pairs, the next state, and its chance."""

    def rows(array: Array) -> np.ndarray:
        return np.asarray(array[step if len(array) > 1 else 0])[state, action]

    sparse = isinstance(transition, Successors)
    chance = rows(transition.chance if sparse else transition).astype(np.float64)
    pair, place = np.nonzero(chance)
    return pair, rows(transition.states)[pair, place] if sparse else place, chance[pair, place]


def dense(transition: Transitions) -> np.ndarray:
    """The table [L, S, A, S], float64, on the host.

    Raises:
      ValueError: lists whose table would not fit into the free memory, with its bytes.
    """
    if not isinstance(transition, Successors):
        return np.asarray(transition, np.float64)
    steps, states, actions, count = transition.states.shape
    shape = steps, states, actions, states
    memory.require(f"a table of transitions {list(shape)}", 8 * math.prod(shape))
    table = np.zeros((steps * states * actions, states))
    rows = np.repeat(np.arange(len(table)), count)
    np.add.at(table, (rows, np.ravel(transition.states)), np.ravel(transition.chance))
    return table.reshape(shape)

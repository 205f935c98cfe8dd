"""Tabular worlds: construction with checks, and backward induction."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from dagger_jax import checks, loops, memory
from dagger_jax.precision import float64
from dagger_jax.tabular import csr
from dagger_jax.tabular.transitions import at, expect, push
from dagger_jax.types import Array, Problem, Successors, World

MOST_OBSERVATIONS = 2**24  # a learner's table has a row for every number up to the largest
ARRAYS = ("transition", "cost", "initial", "observation")
LISTS = "; a world whose states have few successors is given as a sparse matrix, by indptr, indices and data"


def world(
    transition: Any,
    cost: Array,
    initial: Array,
    horizon: int,
    observation: Array | None = None,
    *,
    source: str = "",
) -> World:
    """A checked world, its rows normalised in float64.

    Entries may be outside [0, 1], and rows' sums away from 1, by `checks.TOLERANCE`; a warning tells where that is more
    than rounding.

    Args:
      transition: [S, A, S] or [T, S, A, S]; as in a `World`, T may be 1 where nothing changes. Sparse: a matrix of
        `scipy.sparse` [S A, S] or [T S A, S], rows in the order (step, state, action); or `Successors` [L, S, A, K].
      cost: [S, A] or [T, S, A], in [0, 1] per step.
      initial: [S].
      horizon: T, steps.
      observation: [S] integers from 0, or None where the learner sees the state.
      source: said before a warning.

    Raises:
      ValueError: naming the array, the index and what is allowed; or its bytes, where it does not fit into the memory.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, got {horizon}")
    sparse = isinstance(transition, Successors) or hasattr(transition, "tocsr")
    table = None if sparse else _table(transition)
    cost, initial = _real("cost", cost), _real("initial", initial)
    seen = np.arange(cost.shape[-2] if cost.ndim > 1 else 0) if observation is None else np.asarray(observation)
    shapes = {"cost": cost.shape, "initial": initial.shape, "observation": seen.shape}
    require_shapes(shapes if table is None else {"transition": table.shape, **shapes})
    if table is None:
        states, actions = cost.shape[-2:]
        moves = csr.successors_of(transition, states, actions, source)
    else:
        moves = table if table.ndim == 4 else table[None]
    cost = cost if cost.ndim == 3 else cost[None]
    for name, array in (("transition", moves), ("cost", cost)):
        if array.shape[0] not in (1, horizon):
            raise ValueError(f"{name} is given for {array.shape[0]} steps, but the horizon is {horizon}")
    cost = checks.inside("cost", cost, source=source, over_time=cost.shape[0] > 1)
    laws = lambda array: checks.laws("transition", array, source=source, over_time=array.shape[0] > 1)
    moves = moves.replace(chance=laws(moves.chance)) if isinstance(moves, Successors) else laws(moves)
    initial = checks.laws("initial", initial, source=source)
    if not np.issubdtype(seen.dtype, np.integer):
        raise ValueError(f"observation must hold integers, got {seen.dtype}")
    if index := checks.first((seen < 0) | (seen > MOST_OBSERVATIONS)):
        raise ValueError(f"observation{list(index)} is {seen[index]}: it must lie in 0..{MOST_OBSERVATIONS}")
    return World(
        transition=moves,
        cost=cost,
        initial=initial,
        observation=seen.astype(np.int32),
        horizon=int(horizon),
        observations=int(seen.max()) + 1,
    )


def _table(transition: Any) -> np.ndarray:
    if len(shape := np.shape(transition)) in (3, 4):
        memory.require(f"transition {list(shape)}", 3 * 8 * math.prod(shape), instead=LISTS)  # working copies included
    return _real("transition", transition)


def _real(name: str, array: Array) -> np.ndarray:
    array = np.asarray(array)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return array.astype(np.float64)


def require_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses shapes that do not fit each other, of the arrays that are given; a ValueError names the first."""
    for name, axes in (("transition", 4), ("cost", 3)):
        if name in shapes and len(shapes[name]) not in (axes - 1, axes):
            got = len(shapes[name])
            raise ValueError(f"{name} must have {axes - 1} axes, or {axes} where given over time, got {got}")
    states, actions = shapes["cost"][-2:]
    fit = {"transition": (states, actions, states), "initial": (states,), "observation": (states,)}
    for name, wanted in fit.items():
        got = shapes.get(name, wanted)
        got = got[-3:] if name == "transition" else got
        if got != wanted:
            raise ValueError(f"{name} must have shape {list(wanted)} to fit cost [S, A], got {list(got)}")
    if actions < 2:
        raise ValueError(f"cost must have at least 2 actions (its last axis), got {actions}")


def shorten(long: World, horizon: int) -> World:
    """The first `horizon` steps of a world."""
    if horizon > long.horizon:
        raise ValueError(f"horizon {horizon} is longer than the world's {long.horizon} steps")
    cut = {name: getattr(long, name)[:horizon] for name in ("transition", "cost")}
    return dataclasses.replace(long, horizon=horizon, **cut)


def padded(problem: Problem, horizon: int) -> Problem:
    """The same problem in arrays of `horizon` steps, of which it takes its own number: one program for all lengths.

    Steps beyond it are never taken; whatever is measured at them is 0.

    Raises:
      ValueError: a horizon shorter than the world's.
    """
    short = problem.world
    if horizon < short.horizon:
        raise ValueError(f"horizon {horizon} is shorter than the world's {short.horizon} steps")

    def longer(array: Array) -> np.ndarray:
        array = np.asarray(array)
        return array if len(array) == 1 else np.concatenate([array, np.repeat(array[-1:], horizon - len(array), 0)])

    world = dataclasses.replace(
        short,
        transition=jax.tree.map(longer, short.transition),
        cost=longer(short.cost),
        horizon=horizon,
        length=np.int32(short.horizon),
    )
    return Problem(world, longer(problem.expert), problem.name)


@float64
def backward(
    world: World, policy: Float[Array, "L S A"] | None = None
) -> tuple[Float[Array, "T S A"], Float[Array, "T+1 S"]]:
    """Backward induction: costs-to-go of a policy, or of the best one.

    Q_t(s, a) = C_t(s, a) + E[V_{t+1}(s')], V_t(s) = E_{a~policy}[Q_t(s, a)] or min_a Q_t(s, a), V_{T+1} = 0.

    Args:
      world: with T steps.
      policy: [L, S, A], or None for the minimum over actions.

    Returns:
      Q [T, S, A] and V [T + 1, S], expected cost to the end of the episode.
    """

    def earlier(later: Array, step: Array) -> tuple[Array, tuple[Array, Array]]:
        q = at(world.cost, step) + expect(at(world.transition, step), later)
        v = q.min(-1) if policy is None else (at(policy, step) * q).sum(-1)
        return v, (q, v)

    last = jnp.zeros_like(world.initial)
    q, v = loops.scan(earlier, last, jnp.arange(world.horizon), world.length, reverse=True)[1]
    return q, jnp.concatenate([v, last[None]])


@float64
def reachable(world: World) -> Bool[Array, "T S"]:
    """Which states some policy reaches. [T, S] bool"""

    def later(here: Array, step: Array) -> tuple[Array, Array]:
        there = push(at(world.transition, step), jnp.broadcast_to(here[:, None], (world.states, world.actions)))
        return (there > 0).astype(here.dtype), here > 0

    return loops.scan(later, (world.initial > 0).astype(float), jnp.arange(world.horizon), world.length)[1]

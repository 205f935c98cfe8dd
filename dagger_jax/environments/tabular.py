"""Tabular worlds: construction with checks, a user's own file, and backward induction."""

import dataclasses
import zipfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax.precision import exact, product
from dagger_jax.types import Array, World

ROW_TOLERANCE = 1e-6  # how far a row of probabilities may be from summing to 1
MOST_OBSERVATIONS = 2**24  # a learner's table has a row for every number up to the largest


def world(transition: Array, cost: Array, initial: Array, horizon: int, observation: Array | None = None) -> World:
    """A checked world, its rows normalised in float64.

    Args:
      transition: [S, A, S] or [T, S, A, S].
      cost: [S, A] or [T, S, A], in [0, 1] per step.
      initial: [S].
      horizon: T, steps.
      observation: [S] integers from 0, or None where the learner sees the state.

    Raises:
      ValueError: naming the array, the index and what is allowed.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, got {horizon}")
    transition, cost = _over_time("transition", transition, 4), _over_time("cost", cost, 3)
    states, actions = cost.shape[-2:]
    initial = _finite("initial", initial)
    seen = np.arange(states) if observation is None else np.asarray(observation)
    _shape("transition", transition.shape[1:], (states, actions, states))
    _shape("initial", initial.shape, (states,))
    _shape("observation", seen.shape, (states,))
    if actions < 2:
        raise ValueError(f"cost must have at least 2 actions (its last axis), got {actions}")
    for name, array in (("transition", transition), ("cost", cost)):
        if array.shape[0] not in (1, horizon):
            raise ValueError(f"{name} is given for {array.shape[0]} steps, but the horizon is {horizon}")
    _inside("cost", cost, given_over_time=cost.shape[0] > 1)
    _laws("transition", transition, given_over_time=transition.shape[0] > 1)
    _laws("initial", initial)
    if not np.issubdtype(seen.dtype, np.integer):
        raise ValueError(f"observation must hold integers, got {seen.dtype}")
    if bad := np.argwhere((seen < 0) | (seen > MOST_OBSERVATIONS)).tolist():
        index = bad[0]
        raise ValueError(f"observation{index} is {seen[tuple(index)]}: it must lie in 0..{MOST_OBSERVATIONS}")
    return World(
        transition=transition / transition.sum(-1, keepdims=True),
        cost=cost,
        initial=initial / initial.sum(),
        observation=seen.astype(np.int32),
        horizon=int(horizon),
        observations=int(seen.max()) + 1,
    )


def load(path: str | Path, horizon: int | None = None) -> World:
    """A user's own world from an .npz file with `transition`, `cost`, `initial` and perhaps `observation`.

    Args:
      path: of the file.
      horizon: T; None takes the length of arrays that are given over time. A world given over more steps
        than `horizon` is cut.

    Raises:
      ValueError: naming file, array and index.
      OSError: where the file cannot be read.
    """
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream):  # np.load would take a single array, or a pickle's name, as well
                stream.seek(0)
                file = np.load(stream, allow_pickle=False)
                arrays = {name: np.asarray(file[name]) for name in file.files}
        except (ValueError, OSError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not an .npz file of plain arrays: {error}") from error
    allowed = {"transition", "cost", "initial", "observation"}
    if not allowed - {"observation"} <= set(arrays) <= allowed:
        raise ValueError(
            f"{path} must hold transition, cost, initial and perhaps observation; it holds {sorted(arrays)}"
        )
    given = {name: len(arrays[name]) for name, axes in (("transition", 4), ("cost", 3)) if arrays[name].ndim == axes}
    if horizon is None:
        if not given:
            raise ValueError(f"{path}: a world that is not given over time needs a horizon")
        if len(set(given.values())) > 1:
            lengths = ", ".join(f"{name} is given for {steps} steps" for name, steps in given.items())
            raise ValueError(f"{path}: {lengths}: give a horizon or equal lengths")
        horizon = next(iter(given.values()))
    if given and horizon > min(given.values()):
        raise ValueError(f"{path} is given for {min(given.values())} steps, fewer than the horizon {horizon}")
    arrays |= {name: arrays[name][: max(horizon, 0)] for name in given}
    try:
        return world(horizon=horizon, **arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def shorten(long: World, horizon: int) -> World:
    """The first `horizon` steps of a world."""
    if horizon > long.horizon:
        raise ValueError(f"horizon {horizon} is longer than the world's {long.horizon} steps")
    cut = {name: getattr(long, name)[:horizon] for name in ("transition", "cost")}
    return dataclasses.replace(long, horizon=horizon, **cut)


def at(array: Array, step: Array | int) -> Array:
    """Entry `step` of an array over time, [L, ...] -> [...], where L may be 1."""
    return jnp.asarray(array)[step if array.shape[0] > 1 else 0]


@exact
def backward(world: World, policy: Array | None = None) -> tuple[Array, Array]:
    """Backward induction: costs-to-go of a policy, or of the best one.

    Q_t(s, a) = C_t(s, a) + E[V_{t+1}(s')], V_t(s) = E_{a~policy}[Q_t(s, a)] or min_a Q_t(s, a), V_{T+1} = 0.

    Args:
      world: with T steps.
      policy: [L, S, A], or None for the minimum over actions.

    Returns:
      Q [T, S, A] and V [T + 1, S], expected cost to the end of the episode.
    """

    def earlier(later: Array, step: Array) -> tuple[Array, tuple[Array, Array]]:
        q = at(world.cost, step) + product("sap,p->sa", at(world.transition, step), later)
        v = q.min(-1) if policy is None else (at(policy, step) * q).sum(-1)
        return v, (q, v)

    last = jnp.zeros_like(world.initial)
    q, v = jax.lax.scan(earlier, last, jnp.arange(world.horizon), reverse=True)[1]
    return q, jnp.concatenate([v, last[None]])


@exact
def reachable(world: World) -> Array:
    """Which states some policy reaches. [T, S] bool"""

    def later(here: Array, step: Array) -> tuple[Array, Array]:
        there = product("s,sap->p", here, at(world.transition, step))
        return (there > 0).astype(here.dtype), here > 0

    return jax.lax.scan(later, (world.initial > 0).astype(float), jnp.arange(world.horizon))[1]


def _over_time(name: str, array: Array, axes: int) -> np.ndarray:
    array = _finite(name, array)
    if array.ndim not in (axes - 1, axes):
        raise ValueError(f"{name} must have {axes - 1} axes, or {axes} where given over time, got {array.ndim}")
    return array[None] if array.ndim == axes - 1 else array


def _finite(name: str, array: Array) -> np.ndarray:
    array = np.asarray(array)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    array = array.astype(np.float64)
    if bad := np.argwhere(~np.isfinite(array)).tolist():
        raise ValueError(f"{name}{bad[0]} is {array[tuple(bad[0])]}: it must be finite")
    return array


def _shape(name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if got != wanted:
        raise ValueError(f"{name} must have shape {list(wanted)} to fit cost [S, A], got {list(got)}")


def _inside(name: str, array: np.ndarray, given_over_time: bool = True) -> None:
    if bad := np.argwhere((array < 0) | (array > 1)).tolist():
        index = bad[0] if given_over_time else bad[0][1:]
        raise ValueError(f"{name}{index} is {array[tuple(bad[0])]:g}: it must lie in [0, 1]")


def _laws(name: str, array: np.ndarray, given_over_time: bool = True) -> None:
    _inside(name, array, given_over_time)
    sums = array.sum(-1)
    if bad := np.argwhere(np.abs(sums - 1) > ROW_TOLERANCE).tolist():
        index = bad[0] if given_over_time else bad[0][1:]
        row = f"{name}{index}" if index else name
        raise ValueError(f"{row} sums to {sums[tuple(bad[0])]:.9g}: probabilities must sum to 1")

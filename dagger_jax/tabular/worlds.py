"""Tabular worlds: construction with checks, a user's own file, and backward induction."""

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from dagger_jax import checks, loops, memory
from dagger_jax.precision import float64, product
from dagger_jax.tabular import npz
from dagger_jax.types import Array, Problem, World

MOST_OBSERVATIONS = 2**24  # a learner's table has a row for every number up to the largest
ARRAYS = ("transition", "cost", "initial", "observation")


def world(transition: Array, cost: Array, initial: Array, horizon: int, observation: Array | None = None) -> World:
    """A checked world, its rows normalised in float64.

    Entries may be outside [0, 1], and rows' sums away from 1, by `checks.TOLERANCE`; a warning tells where that is more
    than rounding.

    Args:
      transition: [S, A, S] or [T, S, A, S]; as in a `World`, T may be 1 where nothing changes.
      cost: [S, A] or [T, S, A], in [0, 1] per step.
      initial: [S].
      horizon: T, steps.
      observation: [S] integers from 0, or None where the learner sees the state.

    Raises:
      ValueError: naming the array, the index and what is allowed.
    """
    return _world("", horizon, transition, cost, initial, observation)


def load(path: str | Path, horizon: int | None = None, data: bytes | None = None) -> World:
    """A user's own world from an .npz file with `transition`, `cost`, `initial` and perhaps `observation`.

    The file may be a `World` that was saved whole: then it has `horizon`, `observations` and perhaps `kind` as well.
    Names, types, shapes and sizes are checked before an array is read. Nothing in a file is ever executed.

    Args:
      path: of the file.
      horizon: T; None takes the file's, or the length of arrays that are given over time. A world given over more
        steps than `horizon` is cut.
      data: what the file holds, where it has been read already; `path` is then its name alone.

    Raises:
      ValueError: naming file, array and index.
      OSError: where the file cannot be read.
    """
    with open(path, "rb") if data is None else io.BytesIO(data) as stream:
        try:
            arrays = npz.read(stream, check=_fit)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
    arrays.pop("kind", None)
    known = {name: int(arrays.pop(name)) for name in ("horizon", "observations") if name in arrays}
    given = {
        name: len(arrays[name])
        for name, axes in (("transition", 4), ("cost", 3))
        if arrays[name].ndim == axes and len(arrays[name]) > 1
    }
    if horizon is None:
        horizon = known.get("horizon")
    if horizon is None:
        if not given:
            raise ValueError(f"{path}: a world that is not given over time needs a horizon")
        if len(set(given.values())) > 1:
            lengths = ", ".join(f"{name} is given for {steps} steps" for name, steps in given.items())
            raise ValueError(f"{path}: {lengths}: give a horizon or equal lengths")
        horizon = next(iter(given.values()))
    if given and horizon > min(given.values()):
        raise ValueError(f"{path} is given for {min(given.values())} steps, fewer than the horizon {horizon}")
    arrays |= {name: arrays[name][: max(horizon, 1)] for name in given}
    try:
        loaded = _world(f"{path}: ", horizon, **arrays)
        seen = known.get("observations", loaded.observations)
        if not loaded.observations <= seen <= MOST_OBSERVATIONS + 1:
            raise ValueError(f"observations is {seen}: it must lie in {loaded.observations}..{MOST_OBSERVATIONS + 1}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return dataclasses.replace(loaded, observations=seen)


def sizes(path: str | Path, data: bytes | None = None) -> tuple[int, int, int]:
    """L, S and A of the file's transitions, by the headers alone. Arguments and errors are those of `load`."""
    with open(path, "rb") if data is None else io.BytesIO(data) as stream:
        known = npz.headers(stream)
    if "transition" not in known or len(known["transition"].shape) not in (3, 4):
        raise ValueError(f"{path} holds no transition [S, A, S] or [T, S, A, S]")
    steps, states, actions, _ = (1, *known["transition"].shape)[-4:]
    return steps, states, actions


def _fit(known: Mapping[str, npz.Header]) -> None:
    """Refuses a file's arrays by their headers."""
    needed, more = set(ARRAYS) - {"observation"}, {"observation", "horizon", "observations", "kind"}
    if not needed <= set(known) <= needed | more:
        held = sorted(map(repr, known))
        rest = " and more" if len(held) > 8 else ""
        held = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in held[:8])
        raise ValueError(f"must hold transition, cost, initial and perhaps observation; it holds [{held}]{rest}")
    for name in ("horizon", "observations"):
        if name in known and (known[name].shape or known[name].dtype.kind not in "iu"):
            raise ValueError(f"must hold {name} as one whole number")
    for name in ARRAYS:
        if name in known and known[name].dtype.kind not in "fiub":
            raise ValueError(f"holds {name} as {known[name].dtype}, not as real numbers")
    _sizes({name: known[name].shape for name in ARRAYS if name in known})
    need = 4 * 8 * sum(math.prod(each.shape) for each in known.values())  # float64, as given and as normalised
    if need > (free := memory.host()):
        raise ValueError(f"needs about {memory.words(need)} of memory, and {memory.words(free)} are free")


def _world(
    source: str, horizon: int, transition: Array, cost: Array, initial: Array, observation: Array | None = None
) -> World:
    """As `world`; `source` begins a warning."""
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, got {horizon}")
    transition, cost, initial = _real("transition", transition), _real("cost", cost), _real("initial", initial)
    seen = np.arange(cost.shape[-2] if cost.ndim > 1 else 0) if observation is None else np.asarray(observation)
    _sizes({"transition": transition.shape, "cost": cost.shape, "initial": initial.shape, "observation": seen.shape})
    transition = transition if transition.ndim == 4 else transition[None]
    cost = cost if cost.ndim == 3 else cost[None]
    for name, array in (("transition", transition), ("cost", cost)):
        if array.shape[0] not in (1, horizon):
            raise ValueError(f"{name} is given for {array.shape[0]} steps, but the horizon is {horizon}")
    cost = checks.inside("cost", cost, source=source, over_time=cost.shape[0] > 1)
    transition = checks.laws("transition", transition, source=source, over_time=transition.shape[0] > 1)
    initial = checks.laws("initial", initial, source=source)
    if not np.issubdtype(seen.dtype, np.integer):
        raise ValueError(f"observation must hold integers, got {seen.dtype}")
    if index := checks.first((seen < 0) | (seen > MOST_OBSERVATIONS)):
        raise ValueError(f"observation{list(index)} is {seen[index]}: it must lie in 0..{MOST_OBSERVATIONS}")
    return World(
        transition=transition,
        cost=cost,
        initial=initial,
        observation=seen.astype(np.int32),
        horizon=int(horizon),
        observations=int(seen.max()) + 1,
    )


def _real(name: str, array: Array) -> np.ndarray:
    array = np.asarray(array)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return array.astype(np.float64)


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses shapes that do not fit each other."""
    for name, axes in (("transition", 4), ("cost", 3)):
        if len(shapes[name]) not in (axes - 1, axes):
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
        transition=longer(short.transition),
        cost=longer(short.cost),
        horizon=horizon,
        length=np.int32(short.horizon),
    )
    return Problem(world, longer(problem.expert), problem.name)


def at(array: Shaped[Array, " L *k"], step: Integer[Array, ""] | int) -> Shaped[Array, "*k"]:
    """Entry `step` of an array over time, [L, ...] -> [...], where L may be 1."""
    return jnp.asarray(array)[step if array.shape[0] > 1 else 0]


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
        q = at(world.cost, step) + product("sap,p->sa", at(world.transition, step), later)
        v = q.min(-1) if policy is None else (at(policy, step) * q).sum(-1)
        return v, (q, v)

    last = jnp.zeros_like(world.initial)
    q, v = loops.scan(earlier, last, jnp.arange(world.horizon), world.length, reverse=True)[1]
    return q, jnp.concatenate([v, last[None]])


@float64
def reachable(world: World) -> Bool[Array, "T S"]:
    """Which states some policy reaches. [T, S] bool"""

    def later(here: Array, step: Array) -> tuple[Array, Array]:
        there = product("s,sap->p", here, at(world.transition, step))
        return (there > 0).astype(here.dtype), here > 0

    return loops.scan(later, (world.initial > 0).astype(float), jnp.arange(world.horizon), world.length)[1]

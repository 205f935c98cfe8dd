"""A user's own world in an .npz file: checked by its headers, read, and written."""

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dagger_jax import memory
from dagger_jax.tabular import csr, npz
from dagger_jax.tabular.worlds import ARRAYS, LISTS, MOST_OBSERVATIONS, require_shapes, world
from dagger_jax.types import Successors, World


class Sizes(NamedTuple):
    """Of a world's transitions."""

    steps: int  # L
    states: int  # S
    actions: int  # A
    width: int  # numbers that say what follows a state and action: S of a table, 2 K of lists


def load(path: str | Path, horizon: int | None = None, data: bytes | None = None) -> World:
    """A user's own world from an .npz file with `transition`, `cost`, `initial` and perhaps `observation`.

    Sparse transitions stand as `indptr`, `indices` and `data` in its place, see `csr`. The file may be a `World` that
    was saved whole, see `arrays`: then it has `horizon`, `observations` and perhaps `kind` as well.
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
            content: dict[str, Any] = dict(npz.read(stream, check=_fit))
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
    try:
        if "indptr" in content:
            ends, listed, chances = (content.pop(name) for name in csr.ARRAYS)
            states, actions = content["cost"].shape[-2:]
            content["transition"] = csr.successors(ends, listed, chances, states, actions, source=f"{path}: ")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    content.pop("kind", None)
    known = {name: int(content.pop(name)) for name in ("horizon", "observations") if name in content}
    given = {
        name: len(content[name])
        for name, axes in (("transition", 4), ("cost", 3))
        if len(content[name].shape) == axes and len(content[name]) > 1
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
    content |= {name: content[name][: max(horizon, 1)] for name in given}
    try:
        loaded = world(horizon=horizon, source=f"{path}: ", **content)
        seen = known.get("observations", loaded.observations)
        if not loaded.observations <= seen <= MOST_OBSERVATIONS + 1:
            raise ValueError(f"observations is {seen}: it must lie in {loaded.observations}..{MOST_OBSERVATIONS + 1}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return dataclasses.replace(loaded, observations=seen)


def sizes(path: str | Path, data: bytes | None = None) -> Sizes:
    """The sizes of the file's transitions, by headers and `indptr` alone. Arguments and errors are those of `load`."""
    with open(path, "rb") if data is None else io.BytesIO(data) as stream:
        known = npz.headers(stream)
        if "transition" in known and len(shape := known["transition"].shape) in (3, 4):
            return Sizes(*(1, *shape)[-4:])
        try:
            ends = npz.read(stream, check=_fit, only=("indptr",))["indptr"]
        except ValueError as error:
            raise ValueError(f"{path} holds no transition [S, A, S] or [T, S, A, S], and no CSR arrays") from error
    states, actions = known["cost"].shape[-2:]
    longest = int(np.diff(ends.astype(np.int64)).max(initial=0))
    return Sizes((len(ends) - 1) // (states * actions), states, actions, 2 * longest)


def sizes_of(world: World) -> Sizes:
    """The sizes of a world's transitions."""
    steps, states, actions, width = world.transition.shape
    return Sizes(steps, states, actions, 2 * width if isinstance(world.transition, Successors) else width)


def arrays(world: World) -> dict[str, np.ndarray]:
    """All that a world is made of, by the names that `load` reads: for `np.savez`."""
    fields = ("cost", "initial", "observation", "horizon", "observations")
    moves = world.transition
    listed = csr.arrays(moves) if isinstance(moves, Successors) else {"transition": np.asarray(moves)}
    return listed | {field: np.asarray(getattr(world, field)) for field in fields}


def _fit(known: Mapping[str, npz.Header]) -> None:
    """Refuses a file's arrays by their headers."""
    sparse = "indptr" in known
    names = (*csr.ARRAYS, *ARRAYS[1:]) if sparse else ARRAYS
    needed, more = set(names) - {"observation"}, {"observation", "horizon", "observations", "kind"}
    if not needed <= set(known) <= needed | more:
        held = sorted(map(repr, known))
        rest = " and more" if len(held) > 8 else ""
        held = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in held[:8])
        wanted = f"{'indptr, indices, data' if sparse else 'transition'}, cost, initial and perhaps observation"
        raise ValueError(f"must hold {wanted}; it holds [{held}]{rest}")
    for name in ("horizon", "observations"):
        if name in known and (known[name].shape or known[name].dtype.kind not in "iu"):
            raise ValueError(f"must hold {name} as one whole number")
    for name in names:
        if name in known and known[name].dtype.kind not in "fiub":
            raise ValueError(f"holds {name} as {known[name].dtype}, not as real numbers")
    shapes = {name: known[name].shape for name in names if name in known}
    require_shapes(shapes)
    if sparse:
        csr.require_shapes(shapes, *shapes["cost"][-2:])
    need = 4 * 8 * sum(math.prod(each.shape) for each in known.values())  # float64, as given and as normalised
    if need > (free := memory.host()):
        hint = "" if sparse else LISTS
        raise ValueError(f"needs about {memory.words(need)} of memory, and {memory.words(free)} are free{hint}")

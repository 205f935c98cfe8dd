"""Transitions as a sparse matrix [L S A, S] in CSR arrays: read, checked, and written.

Row (l S + s) A + a lists what may follow action a in state s: from `indptr[row]` to `indptr[row + 1]`, states in
`indices` and their probabilities in `data`, as `scipy.sparse.csr_array` has them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dagger_jax import checks, memory
from dagger_jax.types import Array, Successors

ARRAYS = ("indptr", "indices", "data")


def require_shapes(shapes: Mapping[str, tuple[int, ...]], states: int, actions: int) -> None:
    """Refuses arrays whose lengths do not fit each other, or the cost's [S, A]; of those that are given.

    Raises:
      ValueError: naming the array, what it must be, and what it is.
    """
    for name in ARRAYS:
        if len(shapes[name]) != 1:
            raise ValueError(f"{name} must have 1 axis, got {len(shapes[name])}")
    (ends,), (listed,), (chances,) = (shapes[name] for name in ARRAYS)
    rows = states * actions
    if ends <= rows or (ends - 1) % rows:
        raise ValueError(
            f"indptr must have {rows} + 1 entries to fit cost [S, A] = [{states}, {actions}], or T x {rows} + 1 where "
            f"given over time, got {ends}"
        )
    if listed != chances:
        raise ValueError(f"indices and data must be equally long, got {listed} and {chances}")


def successors(indptr: Array, indices: Array, data: Array, states: int, actions: int, source: str = "") -> Successors:
    """The lists of successors that CSR arrays hold, padded to the longest; chances are not normalised.

    Args:
      indptr: [L S A + 1] integers from 0 to the number of entries, none below the one before.
      indices: the next states, integers in 0..S-1.
      data: their probabilities.
      states: S.
      actions: A.
      source: said before a warning.

    Raises:
      ValueError: naming the array, the first index that is wrong, and what is allowed; or rows of such unequal lengths
        that the padded lists would not fit into the free memory.
    """
    indptr, indices, data = np.asarray(indptr), np.asarray(indices), np.asarray(data)
    require_shapes({"indptr": indptr.shape, "indices": indices.shape, "data": data.shape}, states, actions)
    for name, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integers, got {array.dtype}")
    for place, wanted in ((0, 0), (len(indptr) - 1, len(indices))):
        if indptr[place] != wanted:
            raise ValueError(f"indptr[{place}] is {indptr[place]}: it must be {wanted}")
    if index := checks.first(indptr[1:] < indptr[:-1]):
        row = index[0]
        raise ValueError(f"indptr[{row + 1}] is {indptr[row + 1]}, below indptr[{row}], which is {indptr[row]}")
    if index := checks.first((indices < 0) | (indices >= states)):
        raise ValueError(f"indices{list(index)} is {indices[index]}: it must lie in 0..{states - 1}")
    data = checks.inside("data", data.astype(np.float64), source=source)
    counts = np.diff(indptr.astype(np.int64))
    shape = (len(counts) // (states * actions), states, actions, max(int(counts.max()), 1))
    uneven = f": the longest row has {shape[-1]:,} entries, the mean one {len(indices) / len(counts):.3g}"
    memory.require(f"lists of successors, padded to {list(shape)},", 4 * 8 * math.prod(shape), instead=uneven)
    rows = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(indices)) - np.repeat(indptr[:-1].astype(np.int64), counts)
    following, chance = np.zeros((len(counts), shape[-1]), np.int32), np.zeros((len(counts), shape[-1]))
    following[rows, places], chance[rows, places] = indices, data
    return Successors(following.reshape(shape), chance.reshape(shape))


def successors_of(given: Any, states: int, actions: int, source: str = "") -> Successors:
    """The lists of successors that a sparse matrix of scipy holds, or lists that are checked.

    Raises:
      ValueError: as `successors`; or a matrix or lists of another shape, or lists of states that are not there.
    """
    if not isinstance(given, Successors):
        matrix = given.tocsr()
        if matrix.shape[1] != states:
            raise ValueError(f"transition must have {states} columns to fit cost [S, A], got {matrix.shape[1]}")
        return successors(matrix.indptr, matrix.indices, matrix.data, states, actions, source)
    following, chance = np.asarray(given.states), np.asarray(given.chance, np.float64)
    if following.shape != chance.shape or following.ndim != 4 or following.shape[1:3] != (states, actions):
        wanted = f"[L, {states}, {actions}, K] to fit cost [S, A]"
        got = f"{list(following.shape)} and {list(chance.shape)}"
        raise ValueError(f"transition.states and transition.chance must have shape {wanted}, got {got}")
    if following.dtype.kind not in "iu":
        raise ValueError(f"transition.states must hold integers, got {following.dtype}")
    if index := checks.first((following < 0) | (following >= states)):
        name = f"transition.states{list(index)}"
        raise ValueError(f"{name} is {following[index]}: it must lie in 0..{states - 1}")
    chance = checks.inside("transition.chance", chance, source=source)
    return Successors(following.astype(np.int32), chance)


def arrays(of: Successors) -> dict[str, np.ndarray]:
    """The CSR arrays of lists of successors; entries of chance 0 are left out."""
    listed = np.asarray(of.chance) > 0
    counts = listed.reshape(-1, listed.shape[-1]).sum(-1)
    found = np.append(0, counts.cumsum()), np.asarray(of.states)[listed], np.asarray(of.chance)[listed]
    return dict(zip(ARRAYS, found, strict=True))

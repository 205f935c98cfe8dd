"""Tables of columns: made, read row by row, stacked for `vmap`, checked."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax.types import Array, Schedule


def table(rounds: int, horizon: int, **columns: Array | float) -> Schedule:
    """A schedule from the columns that matter; the others are off (rate and keep are 1).

    Args:
      rounds: N.
      horizon: T.
      **columns: fields of `Schedule`; each broadcasts against [N, T] (`rate`, `keep` against [N]).

    Raises:
      TypeError: for a column that no schedule has.
    """
    off = dict.fromkeys(Schedule._fields, 0.0) | {"rate": 1.0, "keep": 1.0, "patience": None}
    if unknown := set(columns) - set(off):
        raise TypeError(f"unknown columns {sorted(unknown)}; a schedule has {list(off)}")
    shape = {"rate": (rounds,), "keep": (rounds,)}
    filled = {
        name: jnp.broadcast_to(jnp.asarray(value, jnp.result_type(float)), shape.get(name, (rounds, horizon)))
        for name, value in (off | columns).items()
        if value is not None
    }
    return Schedule(**filled)


def row(schedule: Schedule, n: int) -> Schedule:
    """Round n of a schedule: columns [T] (`rate`, `keep` scalars)."""
    return jax.tree.map(lambda column: column[n], schedule)


def stack(schedules: Sequence[Schedule]) -> Schedule:
    """Schedules of equal shape as one batch, for `vmap`: a new leading axis."""
    return jax.tree.map(lambda *columns: jnp.stack(columns), *schedules)


def training_weights(row: Schedule) -> tuple[Array, Array]:
    """How the training law mixes the walkers at each step: shares of (novice, guide), each [..., T].

    Where nothing is labelled both are 0.
    """
    total = row.label_novice + row.label_guide
    safe = jnp.where(total > 0, total, 1.0)
    return row.label_novice / safe, row.label_guide / safe


def validate(schedule: Schedule) -> Schedule:
    """The schedule itself, if it makes sense. Call it on concrete tables, outside jit.

    Raises:
      ValueError: in the table's words: which column, which round and step, and what is allowed.
    """
    columns = {name: np.asarray(column) for name, column in schedule._asdict().items() if column is not None}
    shape = columns["beta"].shape
    if len(shape) != 2:
        raise ValueError(f"schedule.beta must have shape [N, T], got {list(shape)}")
    for name, column in columns.items():
        wanted = shape[:1] if name in ("rate", "keep") else shape
        if column.shape != wanted:
            raise ValueError(f"schedule.{name} must have shape {list(wanted)}, got {list(column.shape)}")
        high = {"label": np.finfo(np.float32).max, "patie": np.inf}.get(name[:5], 1.0)
        bad = np.argwhere(~((column >= 0) & (column <= high)))
        if bad.size:
            where, value = bad[0].tolist(), column[tuple(bad[0])]
            raise ValueError(f"schedule.{name} must lie in [0, {high:g}], got {value:g} at {where}")
    if not (columns["join"][:, 0] == 1).all():
        raise ValueError("schedule.join[:, 0] must be 1: every episode begins a chunk")
    both = np.argwhere((columns["join"] > 0) & (columns["back"] > 0))
    if both.size:
        raise ValueError(f"schedule.join and schedule.back both act at [round, step] {both[0].tolist()}: choose one")
    return schedule

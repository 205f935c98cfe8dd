"""Tables of columns: made, read row by row, stacked for `vmap`, checked.

What is made of known numbers is NumPy's, and takes no compiling; columns of traced ones are traced.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from dagger_jax.checks import known, namespace
from dagger_jax.types import Array, Schedule

NEVER = ("back", "after", "noise", "patience", "copied")  # None where a table does not name them
HIGHEST = {"label_guide": np.finfo(np.float32).max, "label_novice": np.finfo(np.float32).max, "patience": np.inf}
BY_ROUND = ("mixing_rate", "retain")  # [N]; the others are [N, T]


def table(rounds: int, horizon: int, **columns: Any) -> Schedule:
    """A schedule from the columns that matter; the others are off (mixing_rate and retain are 1).

    Args:
      rounds: N.
      horizon: T.
      **columns: fields of `Schedule`; each broadcasts against [N, T] (`mixing_rate`, `retain` against [N]). `back`,
        `after`, `noise`, `patience` and `copied` are None unless they are named: what never happens costs nothing.

    Raises:
      TypeError: for a column that no schedule has.
    """
    off = {name: None if name in NEVER else float(name in BY_ROUND) for name in Schedule._fields}
    if unknown := set(columns) - set(off):
        raise TypeError(f"unknown columns {sorted(unknown)}; a schedule has {list(off)}")
    made = {}
    for name, value in (off | columns).items():
        if value is not None:
            xp, shape = namespace(value), (rounds,) if name in BY_ROUND else (rounds, horizon)
            made[name] = xp.broadcast_to(xp.asarray(value, jnp.result_type(float)), shape)
    return Schedule(**made)


def filled(schedule: Schedule, *others: Schedule) -> Schedule:
    """The schedule, or row, with zeros where a column is None (ones for `rate` and `retain`).

    `patience` and `copied` stay None. Given others, only what one of them has is filled, `patience` by infinity: so
    schedules of unlike algorithms get the same structure.

    Raises:
      ValueError: others that copy, where this one does not: its learner draws by other words.
    """
    off, xp = {}, namespace(schedule.join)
    for name in Schedule._fields:
        has = [getattr(one, name) is not None for one in others]
        if getattr(schedule, name) is not None or (others and not any(has)):
            continue
        if name == "copied" and others:
            raise ValueError("schedule.copied is None in some schedules and not in others: they cannot be one batch")
        if name in BY_ROUND:
            off[name] = xp.ones_like(schedule.join[..., 0])
        elif name not in ("patience", "copied"):
            off[name] = xp.zeros_like(schedule.join)
        elif others:
            off[name] = xp.full_like(schedule.join, np.inf)
    return schedule._replace(**off)


def padded(schedule: Schedule, rounds: int, horizon: int) -> Schedule:
    """The same schedule [N, T] in columns [rounds, horizon]: a chunk starts at every step beyond T, nothing is asked.

    For worlds that are padded (`tabular.worlds.padded`) and runs of which only N rounds are done.
    """
    n, t = np.shape(schedule.join)

    def longer(name: str, column: Any) -> Any:
        if column is None:
            return None
        axes = ((0, rounds - n),) if name in BY_ROUND else ((0, rounds - n), (0, horizon - t))
        return np.pad(np.asarray(column), axes, constant_values=float(name == "join" or name in BY_ROUND))

    return Schedule(**{name: longer(name, column) for name, column in schedule._asdict().items()})


def row(schedule: Schedule, n: Integer[Array, ""] | int) -> Schedule:
    """Round n of a schedule: columns [T] (`mixing_rate`, `retain` scalars)."""
    xp = namespace(n, *jax.tree.leaves(schedule))
    return jax.tree.map(lambda column: xp.asarray(xp.asarray(column)[n]), schedule)


def stack(schedules: Sequence[Schedule]) -> Schedule:
    """Schedules of equal shape as one batch, for `vmap`: a new leading axis. A column that one has, all have."""
    return jax.tree.map(
        lambda *columns: namespace(*columns).stack(columns), *(filled(one, *schedules) for one in schedules)
    )


def training_weights(row: Schedule) -> tuple[Float[Array, "*N T"], Float[Array, "*N T"]]:
    """How the training law mixes the walkers at each step: shares of (novice, guide), each [..., T].

    Where nothing is labelled both are 0.
    """
    row = filled(row)
    total = row.label_novice + row.label_guide
    safe = namespace(total).where(total > 0, total, 1.0)
    return row.label_novice / safe, row.label_guide / safe


def validate(schedule: Schedule) -> Schedule:
    """The schedule itself, if what is known of it makes sense: columns that are traced are not looked at.

    Raises:
      ValueError: in the table's words: which column, which round and step, and what is allowed.
    """
    given = schedule._asdict().items()
    columns = {name: found for name, column in given if column is not None and (found := known(column)) is not None}
    if "join" not in columns:
        return schedule
    shape = columns["join"].shape
    if len(shape) != 2:
        raise ValueError(f"schedule.join must have shape [N, T], got {list(shape)}")
    for name, column in columns.items():
        wanted = shape[:1] if name in BY_ROUND else shape
        if column.shape != wanted:
            raise ValueError(f"schedule.{name} must have shape {list(wanted)}, got {list(column.shape)}")
        high = HIGHEST.get(name, 1.0)
        bad = np.argwhere(~((column >= 0) & (column <= high)))
        if bad.size:
            where, value = bad[0].tolist(), column[tuple(bad[0])]
            raise ValueError(f"schedule.{name} must lie in [0, {high:g}], got {value:g} at {where}")
    if not (columns["join"][:, 0] == 1).all():
        raise ValueError("schedule.join[:, 0] must be 1: every episode begins a chunk")
    both = np.argwhere((columns["join"] > 0) & (columns.get("back", 0) > np.zeros(shape)))
    if both.size:
        raise ValueError(f"schedule.join and schedule.back both act at [round, step] {both[0].tolist()}: choose one")
    return schedule

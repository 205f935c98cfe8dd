"""Every algorithm is a table: one row a round, one entry a step, read by both interpreters.

Two walkers run through one episode on shared randomness. The novice is moved by the learner (by the expert
with probability `beta`), the guide by the expert. `join` puts the guide where the novice is: from there the
expert continues, which is a chunk. `back` puts the novice where the guide is. Labels are asked for at the
walkers' states. Nothing else distinguishes the algorithms below, and every entry is data: no schedule
recompiles a program.

    algorithm                beta      join              back              labels
    behavioural cloning      -         t = 0             never             guide
    chunked, lengths l       beta_n    chunk starts(l)   never             guide
    DAgger                   beta_n    every step        never             novice
    forward training         -         every step        never             novice at t = n
    reset variant            -         t = 0             chunk starts(l)   novice

Constructors are pure functions of numbers, some static (N, T), some traced, and may be called under jit.
"""

from collections.abc import Sequence

import jax
import jax.core
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
    off = dict.fromkeys(Schedule._fields, 0.0) | {"rate": 1.0, "keep": 1.0}
    if unknown := set(columns) - set(off):
        raise TypeError(f"unknown columns {sorted(unknown)}; a schedule has {list(off)}")
    shape = {"rate": (rounds,), "keep": (rounds,)}
    filled = {
        name: jnp.broadcast_to(jnp.asarray(value, jnp.result_type(float)), shape.get(name, (rounds, horizon)))
        for name, value in (off | columns).items()
    }
    return Schedule(**filled)


# ---- chunk partitions: [T], 1 where a chunk starts -----------------------------------------------------


def starts(horizon: int, length: Array | int, offset: Array | int = 0) -> Array:
    """Equal chunks: starts at step 0 and at every t with (t - offset) divisible by `length`. [T]

    A random offset, uniform in 0..length-1, is the random phase of theory 7.3.
    """
    step = jnp.arange(horizon)
    return ((step - offset) % length == 0) | (step == 0)


def partition(horizon: int, lengths: Sequence[int] | Array) -> Array:
    """Chunks of the given lengths, in order. [T]

    Args:
      horizon: T.
      lengths: positive integers; what lies beyond the horizon is cut, the last chunk is not extended.

    Raises:
      ValueError: a length below 1, or lengths that do not cover the horizon (concrete lengths only).
    """
    if not isinstance(lengths, jax.core.Tracer):
        concrete = np.asarray(lengths)
        if concrete.size == 0 or (concrete < 1).any():
            raise ValueError(f"chunk lengths must be at least 1 step, got {concrete.tolist()}")
        if concrete.sum() < horizon:
            raise ValueError(f"chunk lengths sum to {concrete.sum()}, short of the horizon {horizon}")
    lengths = jnp.asarray(lengths)
    return jnp.zeros(horizon, bool).at[jnp.cumsum(lengths) - lengths].set(True, mode="drop")


def geometric(horizon: int, mean: Array | float) -> Array:
    """Chunks of geometric length: before each later step a new one starts with probability 1/mean. [T]"""
    return jnp.full(horizon, 1.0 / mean).at[0].set(1.0)


def remaining(boundary: Array) -> Array:
    """Expected remaining length r_t of the current chunk, step t included. [..., T] -> [..., T]

    `boundary` is `join` (or `back` in the reset variant); entries strictly between 0 and 1 are independent
    coins, so r_t = 1 + (1 - boundary_{t+1}) r_{t+1}. A whole number where every entry is 0 or 1.
    """

    def earlier(later: Array, boundary_after: Array) -> tuple[Array, Array]:
        here = 1.0 + (1.0 - boundary_after) * later
        return here, here

    boundary = jnp.asarray(boundary, jnp.result_type(float))
    after = jnp.concatenate([boundary[..., 1:], jnp.ones_like(boundary[..., :1])], axis=-1)
    zero = jnp.zeros(boundary.shape[:-1], after.dtype)
    return jnp.moveaxis(jax.lax.scan(earlier, zero, jnp.moveaxis(after, -1, 0), reverse=True)[1], 0, -1)


# ---- beta over rounds: [N] --------------------------------------------------------------------------


def beta_indicator(rounds: int) -> Array:
    """beta_n = 1[n = 1], the parameter-free choice of Ross, Gordon and Bagnell (2011)."""
    return (jnp.arange(rounds) == 0).astype(float)


def beta_geometric(rounds: int, p: Array | float) -> Array:
    """beta_n = p^(n-1)."""
    return p ** jnp.arange(rounds)


def beta_linear(rounds: int, zero_at: Array | int) -> Array:
    """beta_n falls linearly from 1 in the first round to 0 in round `zero_at` + 1."""
    return jnp.maximum(0.0, 1.0 - jnp.arange(rounds) / zero_at)


def beta_constant(rounds: int, beta: Array | float) -> Array:
    """beta_n = beta."""
    return jnp.full(rounds, beta)


# ---- algorithms ------------------------------------------------------------------------------------


def behavioural_cloning(rounds: int, horizon: int) -> Schedule:
    """The expert alone is followed and labelled (Pomerleau 1989; Ross and Bagnell 2010, Theorem 2.1)."""
    return chunked(rounds, starts(horizon, horizon))


def chunked(rounds: int, chunk_starts: Array, beta: Array | None = None) -> Schedule:
    """The learner rolls in, the expert continues each chunk and is labelled on it (theory 7.1).

    Chunks of one step are DAgger, one chunk of T steps is behavioural cloning.

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T], from `starts`, `partition` or `geometric`.
      beta: [N], probability a step that the expert acts while rolling in; 0 if None.
    """
    beta = jnp.zeros(rounds) if beta is None else jnp.asarray(beta)
    return table(rounds, chunk_starts.shape[-1], beta=beta[:, None], join=chunk_starts, label_guide=1.0)


def dagger(rounds: int, horizon: int, beta: Array | None = None) -> Schedule:
    """DAgger, Algorithm 3.1 of Ross, Gordon and Bagnell (2011).

    Args:
      rounds: N.
      horizon: T.
      beta: [N], probability a step that the expert acts; 1[n = 1] if None.
    """
    beta = beta_indicator(rounds) if beta is None else jnp.asarray(beta)
    return table(rounds, horizon, beta=beta[:, None], join=1.0, label_novice=1.0)


def forward_training(horizon: int) -> Schedule:
    """Round n labels step n alone, on the states of the policies before it (Ross and Bagnell 2010)."""
    return table(horizon, horizon, join=1.0, label_novice=jnp.eye(horizon))


def reset(rounds: int, chunk_starts: Array) -> Schedule:
    """The learner makes excursions from the expert's states and is labelled on them (theory 7.3).

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T]; an excursion begins at each.
    """
    horizon = chunk_starts.shape[-1]
    back = jnp.asarray(chunk_starts, float).at[..., 0].set(0.0)
    return table(rounds, horizon, join=starts(horizon, horizon), back=back, label_novice=1.0)


# ---- rows --------------------------------------------------------------------------------------------


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
    columns = {name: np.asarray(column) for name, column in schedule._asdict().items()}
    shape = columns["beta"].shape
    if len(shape) != 2:
        raise ValueError(f"schedule.beta must have shape [N, T], got {list(shape)}")
    for name, column in columns.items():
        wanted = shape[:1] if name in ("rate", "keep") else shape
        if column.shape != wanted:
            raise ValueError(f"schedule.{name} must have shape {list(wanted)}, got {list(column.shape)}")
        high = np.finfo(np.float32).max if name.startswith("label") else 1.0
        bad = np.argwhere(~((column >= 0) & (column <= high)))
        if bad.size:
            where, value = bad[0].tolist(), column[tuple(bad[0])]
            raise ValueError(f"schedule.{name} must lie in [0, {high:g}], got {value:g} at {where}")
    if not (columns["join"][:, 0] == 1).all():
        raise ValueError("schedule.join[:, 0] must be 1: every episode begins a chunk")
    both = np.argwhere((columns["join"] > 0) & (columns["back"] > 0))
    if both.size:
        raise ValueError(
            f"schedule.join and schedule.back both act at [round, step] {both[0].tolist()}: choose one"
        )
    return schedule

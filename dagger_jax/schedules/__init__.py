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
    round trip               -         chunk starts(l)   returns           both, half each

Constructors are pure functions of numbers, some static (N, T), some traced, and may be called under jit.
"""

import jax.numpy as jnp

from dagger_jax.schedules.columns import row, stack, table, training_weights, validate
from dagger_jax.schedules.partitions import (
    by_offset,
    drawn,
    forks,
    geometric,
    growing,
    offsets,
    partition,
    remaining,
    restart,
    starts,
)
from dagger_jax.types import Array, Schedule

__all__ = [
    "behavioural_cloning",
    "beta_constant",
    "beta_geometric",
    "beta_indicator",
    "beta_linear",
    "by_offset",
    "chunked",
    "dagger",
    "drawn",
    "forks",
    "forward_training",
    "geometric",
    "growing",
    "offsets",
    "partition",
    "remaining",
    "reset",
    "restart",
    "round_trip",
    "row",
    "stack",
    "starts",
    "table",
    "training_weights",
    "validate",
]

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


def round_trip(rounds: int, chunk_starts: Array, returns: Array) -> Schedule:
    """Both directions: the expert continues from the learner's state at `chunk_starts`, and the learner goes on
    from the expert's state at `returns`. Both walkers are labelled, each with half the weight.

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T].
      returns: [T] or [N, T]; where a chunk starts none can be.
    """
    horizon = chunk_starts.shape[-1]
    back = jnp.asarray(returns, float).at[..., 0].set(0.0)
    return table(rounds, horizon, join=chunk_starts, back=back, label_guide=0.5, label_novice=0.5)


def reset(rounds: int, chunk_starts: Array) -> Schedule:
    """The learner makes excursions from the expert's states and is labelled on them (theory 7.3).

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T]; an excursion begins at each.
    """
    horizon = chunk_starts.shape[-1]
    back = jnp.asarray(chunk_starts, float).at[..., 0].set(0.0)
    return table(rounds, horizon, join=starts(horizon, horizon), back=back, label_novice=1.0)

"""The expert's share of the roll-in, over rounds: [N]."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Real

from dagger_jax.checks import namespace
from dagger_jax.schedules.partitions import powers
from dagger_jax.types import Array


def beta_indicator(rounds: int) -> Float[Array, " {rounds}"]:
    """beta_n = 1[n = 1], the parameter-free choice of Ross, Gordon and Bagnell (2011)."""
    return np.eye(1, rounds, dtype=jnp.result_type(float))[0]


def beta_geometric(rounds: int, p: Real[Array, ""] | float) -> Float[Array, " {rounds}"]:
    """beta_n = p^(n-1)."""
    return powers(p, rounds)


def beta_linear(rounds: int, zero_at: Real[Array, ""] | float) -> Float[Array, " {rounds}"]:
    """beta_n falls linearly from 1 in the first round to 0 in round `zero_at` + 1."""
    xp, n = namespace(zero_at), np.arange(rounds, dtype=jnp.result_type(float))
    return xp.maximum(0.0, 1.0 - n * (1.0 / xp.asarray(zero_at, n.dtype)))  # XLA divides by one number so


def beta_constant(rounds: int, beta: Real[Array, ""] | float) -> Float[Array, " {rounds}"]:
    """beta_n = beta."""
    return namespace(beta).full(rounds, beta, jnp.result_type(float))

"""The expert's share of the roll-in, over rounds: [N]."""

import jax.numpy as jnp
from jaxtyping import Float, Real

from dagger_jax.types import Array


def beta_indicator(rounds: int) -> Float[Array, " {rounds}"]:
    """beta_n = 1[n = 1], the parameter-free choice of Ross, Gordon and Bagnell (2011)."""
    return (jnp.arange(rounds) == 0).astype(float)


def beta_geometric(rounds: int, p: Real[Array, ""] | float) -> Float[Array, " {rounds}"]:
    """beta_n = p^(n-1)."""
    return p ** jnp.arange(rounds)


def beta_linear(rounds: int, zero_at: Real[Array, ""] | float) -> Float[Array, " {rounds}"]:
    """beta_n falls linearly from 1 in the first round to 0 in round `zero_at` + 1."""
    return jnp.maximum(0.0, 1.0 - jnp.arange(rounds) / zero_at)


def beta_constant(rounds: int, beta: Real[Array, ""] | float) -> Float[Array, " {rounds}"]:
    """beta_n = beta."""
    return jnp.full(rounds, beta)

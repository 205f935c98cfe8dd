"""DART's noise, fitted to the learner's error each round."""

from typing import ClassVar

import jax.numpy as jnp

from dagger_jax.checks import require
from dagger_jax.controllers.limits import Seen
from dagger_jax.types import Array, Node


class FittedNoise(Node):
    """DART (Laskey et al. 2017, arXiv 1703.09327): the expert's actions are perturbed as often as the learner errs.

    A uniform action in place of the intended one with probability psi misses it with psi (1 - 1/A). The psi that makes
    the learner's actions most likely is therefore e A / (A - 1), e the learner's mean error on the states of a round
    that it had not been trained on. So the first two rounds have no noise: one trains a learner, one measures it.
    `scale` multiplies e (DART's prior on how far the final learner's error is from the current one); 0 is behavioural
    cloning.
    """

    scale: Array | float = 1.0
    column: ClassVar[str] = "noise"

    def __post_init__(self):
        require("FittedNoise.scale", self.scale, 0, ends="[)")

    def init(self, horizon: int) -> tuple[Array, Array]:
        return jnp.zeros((), bool), jnp.zeros(horizon)

    def update(self, state: Array, seen: Seen) -> tuple[Array, Array]:
        fitted = jnp.clip(self.scale * seen.eps.sum() / seen.horizon * seen.actions / (seen.actions - 1), 0.0, 1.0)
        # The round before was the untrained learner's: its error says nothing.
        return jnp.ones_like(state), jnp.broadcast_to(jnp.where(state, fitted, 0.0), seen.starts.shape)

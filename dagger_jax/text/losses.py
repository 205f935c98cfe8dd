"""What a learner's law is charged for, in nats a token: the expert's token, or a divergence from its whole law.

Divergences are functions of (expert's log probabilities [..., V], learner's [..., V]) -> [...].
"""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, Integer

from dagger_jax.types import Array, Node


def log_loss(tokens: Integer[Array, "*B"], learner: Float[Array, "*B V"]) -> Float[Array, "*B"]:
    """-ln q(token): tokens [...], the learner's log probabilities [..., V]."""
    return -jnp.take_along_axis(learner, tokens[..., None], axis=-1)[..., 0]


def forward_kl(expert: Float[Array, "*B V"], learner: Float[Array, "*B V"]) -> Float[Array, "*B"]:
    """KL(p || q), the expected log loss above the expert's entropy: behavioural cloning's on the whole law."""
    return (jnp.exp(expert) * (expert - learner)).sum(-1)


def reverse_kl(expert: Float[Array, "*B V"], learner: Float[Array, "*B V"]) -> Float[Array, "*B"]:
    """KL(q || p), MiniLLM's (arXiv 2306.08543), a step at a time. Unbounded where the expert never writes a token."""
    return (jnp.exp(learner) * (learner - expert)).sum(-1)


def total_variation(expert: Float[Array, "*B V"], learner: Float[Array, "*B V"]) -> Float[Array, "*B"]:
    """TV(p, q), in [0, 1]: the 0-1 loss of the theorems."""
    return 0.5 * jnp.abs(jnp.exp(expert) - jnp.exp(learner)).sum(-1)


class JensenShannon(Node):
    """beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q: GKD's generalised one (arXiv 2306.13649).

    beta in (0, 1); divided by beta (1 - beta) it tends to the forward KL as beta -> 0, to the reverse as beta -> 1.
    """

    beta: float = struct.field(pytree_node=False, default=0.5)

    def __post_init__(self):
        if not 0 < self.beta < 1:
            raise ValueError(f"beta must lie between 0 and 1, both excluded, got {self.beta}")

    def __call__(self, expert: Float[Array, "*B V"], learner: Float[Array, "*B V"]) -> Float[Array, "*B"]:
        mixed = jnp.logaddexp(expert + jnp.log(self.beta), learner + jnp.log1p(-self.beta))
        return self.beta * forward_kl(expert, mixed) + (1 - self.beta) * forward_kl(learner, mixed)

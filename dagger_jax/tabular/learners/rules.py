"""Rules: how a row of label costs becomes a law over actions."""

from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import optax

from dagger_jax import ties
from dagger_jax.checks import require
from dagger_jax.types import Array, Node


class Rule(Protocol):
    """Costs of each action [..., A] and weight of the labels [...] -> probabilities [..., A]."""

    def __call__(self, costs: Array, weight: Array) -> Array: ...


class Majority(Node):
    """The action of least cost so far; ties up to rounding, and so unseen observations, go to the lowest action.

    Follow the leader for the 0-1 loss: the empirical risk minimiser among deterministic tables.
    """

    def __call__(self, costs: Array, weight: Array) -> Array:
        best = ties.first_least(costs, ties.rounding(costs))
        return jax.nn.one_hot(best, costs.shape[-1], dtype=costs.dtype)


class LogLoss(Node):
    """Smoothed frequencies of the labels, (n_a + smoothing) / (n + A smoothing): follow the leader for log loss.

    With `smoothing` 0 it is the maximum likelihood, uniform at unseen observations. Needs labels of kind
    "imitate": there the count of an action is weight - cost. Raises ValueError for a smoothing below 0.
    """

    smoothing: Array | float = 0.0
    needs: ClassVar[str] = "imitate"

    def __post_init__(self):
        require("LogLoss.smoothing", self.smoothing, 0, ends="[)")

    def __call__(self, costs: Array, weight: Array) -> Array:
        counts = jnp.maximum(weight[..., None] - costs, 0.0) + self.smoothing
        total = counts.sum(-1, keepdims=True)
        return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1.0), 1.0 / costs.shape[-1])


class Hedge(Node):
    """Exponential weights: probability proportional to exp(-rate x cost so far) (Freund and Schapire 1997).

    `rate` is per unit of cost times label weight; sqrt(8 ln A / n) gives regret sqrt(n ln A / 2) after
    labels of total weight n at an observation. Raises ValueError for a rate below 0.
    """

    rate: Array | float = 1.0

    def __post_init__(self):
        require("Hedge.rate", self.rate, 0, ends="[)")

    def __call__(self, costs: Array, weight: Array) -> Array:
        return jax.nn.softmax(-self.rate * costs, axis=-1)


class RegularisedLeader(Node):
    """Follow the regularised leader, Euclidean: the simplex's nearest point to 1 / A - rate x cost so far.

    Lazily projected online gradient descent (Zinkevich 2003; Shalev-Shwartz 2012, section 2.4). `rate` as in `Hedge`,
    which is the same with the entropy. Raises ValueError for a rate below 0.
    """

    rate: Array | float = 1.0

    def __post_init__(self):
        require("RegularisedLeader.rate", self.rate, 0, ends="[)")

    def __call__(self, costs: Array, weight: Array) -> Array:
        return project(1.0 / costs.shape[-1] - self.rate * costs)


class Smoothed(Node):
    """A rule and a prior worth some labels, spread evenly over the actions: n labels leave an error of order 1/n.

    Laplace's rule for any rule: with `LogLoss` and A labels it is (n_a + 1) / (n + A). Raises ValueError for a prior
    not above 0: it would say nothing of a row that was never labelled.
    """

    rule: Rule
    labels: Array | float  # in the unit of label weights, which count labels an episode

    def __post_init__(self):
        require("Smoothed.labels", self.labels, 0, ends="()")

    def __call__(self, costs: Array, weight: Array) -> Array:
        weight = weight[..., None]
        return (weight * self.rule(costs, weight[..., 0]) + self.labels / costs.shape[-1]) / (weight + self.labels)


def project(points: Array) -> Array:
    """The nearest laws [..., A], in Euclidean distance, to points [..., A]."""
    flat = points.reshape(-1, points.shape[-1])
    return jax.vmap(optax.projections.projection_simplex)(flat).reshape(points.shape)

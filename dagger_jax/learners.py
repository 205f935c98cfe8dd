"""Learners of tabular worlds. Their memory is a table of label costs: it never grows with the labels.

A learner is four functions: `init(key)`, `update(key, memory, batch, keep)`, `params(memory)` and
`policy(params, world)`. A rule says how a row of costs becomes a law over actions.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from dagger_jax.types import Array, Batch, World


class Rule(Protocol):
    """Costs of each action [..., A] and weight of the labels [...] -> probabilities [..., A]."""

    def __call__(self, costs: Array, weight: Array) -> Array: ...


class Majority(struct.PyTreeNode):
    """The action of least cost so far; ties, and so unseen observations, go to the lowest action.

    Follow the leader for the 0-1 loss: the empirical risk minimiser among deterministic tables.
    """

    def __call__(self, costs: Array, weight: Array) -> Array:
        return jax.nn.one_hot(costs.argmin(-1), costs.shape[-1], dtype=costs.dtype)


class LogLoss(struct.PyTreeNode):
    """Smoothed frequencies of the labels, (n_a + smoothing) / (n + A smoothing): follow the leader for log loss.

    With `smoothing` 0 it is the maximum likelihood, uniform at unseen observations. Needs labels of kind
    "imitate": there the count of an action is weight - cost.
    """

    smoothing: Array | float = 0.0

    def __call__(self, costs: Array, weight: Array) -> Array:
        counts = jnp.maximum(weight[..., None] - costs, 0.0) + self.smoothing
        total = counts.sum(-1, keepdims=True)
        return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1.0), 1.0 / costs.shape[-1])


class Hedge(struct.PyTreeNode):
    """Exponential weights: probability proportional to exp(-rate x cost so far) (Freund and Schapire 1997).

    `rate` is per unit of cost times label weight; sqrt(8 ln A / n) gives regret sqrt(n ln A / 2) after
    labels of total weight n at an observation.
    """

    rate: Array | float = 1.0

    def __call__(self, costs: Array, weight: Array) -> Array:
        return jax.nn.softmax(-self.rate * costs, axis=-1)


class Memory(NamedTuple):
    """Sufficient statistic of all labels kept. L is T for a table per step, 1 where steps share one."""

    costs: Array  # [L, O, A] summed weight x cost
    weight: Array  # [L, O] summed weight


class Tabular(struct.PyTreeNode):
    """One row of costs an observation (and a step, unless shared over time), turned into a policy by a rule."""

    rule: Rule
    steps: int = struct.field(pytree_node=False)  # L
    observations: int = struct.field(pytree_node=False)  # O
    actions: int = struct.field(pytree_node=False)  # A

    def init(self, key: Array | None = None) -> Memory:
        """An empty memory. No randomness is used."""
        size = (self.steps, self.observations)
        return Memory(jnp.zeros((*size, self.actions)), jnp.zeros(size))

    def update(self, key: Array | None, memory: Memory, batch: Batch, keep: Array | float) -> Memory:
        """The memory after a batch; of what was there before, a share `keep` counts on."""
        rows = (batch.step if self.steps > 1 else jnp.zeros_like(batch.step), batch.observation)
        return Memory(
            jnp.asarray(keep * memory.costs).at[rows].add(batch.costs),
            jnp.asarray(keep * memory.weight).at[rows].add(batch.weight),
        )

    def params(self, memory: Memory) -> Array:
        """Action probabilities of every row, [L, O, A]."""
        return self.rule(memory.costs, memory.weight)

    def policy(self, params: Array, world: World) -> Array:
        """The parameters as a policy of the world's states, [L, S, A]."""
        return params[:, world.observation]


def tabular(world: World, rule: Rule, shared: bool) -> Tabular:
    """A learner that fits the world's observations; `shared` over time, or with one table a step."""
    return Tabular(rule, 1 if shared else world.horizon, world.observations, world.actions)

"""Online learners: what they keep is the current policy, not the labels. `retain` is not read.

They see each round's labels once: with steps of 1 / sqrt(n) their average regret after N rounds falls as 1 / sqrt(N).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dagger_jax.checks import require
from dagger_jax.tabular.learners.rules import project
from dagger_jax.tabular.learners.tables import of_states, require_sizes, rows_of
from dagger_jax.types import Array, Batch, Node, World


class Iterate(NamedTuple):
    """Where an online learner is."""

    table: Array  # [L, O, A] probabilities, or logits
    rounds: Array  # [] seen so far


class Descent(Node):
    """Online gradient descent on the expected label cost, projected onto the laws (Zinkevich 2003).

    Round n moves by rate / sqrt(n) times the label costs of the round. Raises ValueError for a rate below 0 or a size
    below 1.
    """

    rate: Array | float
    steps: int = struct.field(pytree_node=False)  # L
    observations: int = struct.field(pytree_node=False)  # O
    actions: int = struct.field(pytree_node=False)  # A

    def __post_init__(self):
        require("Descent.rate", self.rate, 0, ends="[)")
        require_sizes(self)

    def init(self, key: Array | None = None) -> Iterate:
        """The uniform policy. No randomness is used."""
        size = (self.steps, self.observations, self.actions)
        return Iterate(jnp.full(size, 1.0 / self.actions), jnp.zeros(()))

    def update(self, key: Array | None, memory: Iterate, batch: Batch, retain: Array | float) -> Iterate:
        """One step down the round's costs."""
        rounds = memory.rounds + 1
        costs = jnp.zeros_like(memory.table).at[rows_of(batch, self.steps)].add(batch.costs)
        return Iterate(project(memory.table - self.rate / jnp.sqrt(rounds) * costs), rounds)

    def params(self, memory: Iterate) -> Array:
        """Action probabilities of every row, [L, O, A]."""
        return memory.table

    def policy(self, params: Array, world: World) -> Array:
        """As `Tabular.policy`."""
        return of_states(params, world)


class PolicyGradient(Node):
    """AggreVaTeD: gradient descent of a softmax policy on the expected cost-to-go (Sun et al. 2017, arXiv 1703.01030).

    Needs cost-to-go labels, `labels.cost_to_go`. Round n moves the logits by rate / sqrt(n) times the gradient; the
    natural gradient divides by the Fisher information, in a table by law and probability: it moves by the advantage.
    Raises ValueError for a rate below 0 or a size below 1.
    """

    rate: Array | float
    steps: int = struct.field(pytree_node=False)  # L
    observations: int = struct.field(pytree_node=False)  # O
    actions: int = struct.field(pytree_node=False)  # A
    natural: bool = struct.field(pytree_node=False, default=True)
    needs: ClassVar[str] = "cost_to_go"

    def __post_init__(self):
        require("PolicyGradient.rate", self.rate, 0, ends="[)")
        require_sizes(self)

    def init(self, key: Array | None = None) -> Iterate:
        """Equal logits. No randomness is used."""
        return Iterate(jnp.zeros((self.steps, self.observations, self.actions)), jnp.zeros(()))

    def update(self, key: Array | None, memory: Iterate, batch: Batch, retain: Array | float) -> Iterate:
        """One step down the gradient of the round's expected cost-to-go."""
        rows, rounds = rows_of(batch, self.steps), memory.rounds + 1
        costs = jnp.zeros_like(memory.table).at[rows].add(batch.costs)
        weight = jnp.zeros_like(memory.table[..., 0]).at[rows].add(batch.weight)[..., None]
        acts = self.params(memory)
        gradient = acts * (costs - (acts * costs).sum(-1, keepdims=True))
        if self.natural:
            gradient = jnp.where(weight > 0, costs / jnp.where(weight > 0, weight, 1.0), 0.0)
        return Iterate(memory.table - self.rate / jnp.sqrt(rounds) * gradient, rounds)

    def params(self, memory: Iterate) -> Array:
        """Action probabilities of every row, [L, O, A]."""
        return jax.nn.softmax(memory.table, axis=-1)

    def policy(self, params: Array, world: World) -> Array:
        """As `Tabular.policy`."""
        return of_states(params, world)


class Counted(NamedTuple):
    """An online learner's memory, and what a table would know besides. L, O as its rows."""

    own: Iterate
    weight: Array  # [L, O] labels seen, in the unit of label weights


class Cautious(Node):
    """An online learner with a prior worth some labels, spread evenly over the actions: `Smoothed` for policies.

    It needs the labels' weights, which the learner itself does not keep. Raises ValueError for a prior not above 0.
    """

    learner: Any  # Descent or PolicyGradient
    labels: Array | float

    def __post_init__(self):
        require("Cautious.labels", self.labels, 0, ends="()")

    def init(self, key: Array | None = None) -> Counted:
        """The learner's beginning, and no label."""
        own = self.learner.init(key)
        return Counted(own, jnp.zeros(own.table.shape[:-1]))

    def update(self, key: Array | None, memory: Counted, batch: Batch, retain: Array | float) -> Counted:
        """The learner's step; the labels are counted."""
        rows = rows_of(batch, self.learner.steps)
        counted = jnp.asarray(memory.weight).at[rows].add(batch.weight)
        return Counted(self.learner.update(key, memory.own, batch, retain), counted)

    def params(self, memory: Counted) -> Array:
        """Action probabilities of every row, [L, O, A]."""
        weight, acts = memory.weight[..., None], self.learner.params(memory.own)
        return (weight * acts + self.labels / acts.shape[-1]) / (weight + self.labels)

    def policy(self, params: Array, world: World) -> Array:
        """As `Tabular.policy`."""
        return self.learner.policy(params, world)

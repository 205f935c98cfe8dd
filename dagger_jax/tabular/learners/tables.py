"""Learners that keep a table of label costs: it never grows with the labels."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dagger_jax.checks import require
from dagger_jax.tabular.learners.rules import Rule
from dagger_jax.types import Array, Batch, Node, World


class Memory(NamedTuple):
    """Sufficient statistic of all labels kept. L is T for a table per step, 1 where steps share one."""

    costs: Array  # [L, O, A] summed weight x cost
    weight: Array  # [L, O] summed weight


class Tabular(Node):
    """One row of costs an observation (and a step, unless shared over time), turned into a policy by a rule.

    Raises ValueError for a size below 1.
    """

    rule: Rule
    steps: int = struct.field(pytree_node=False)  # L
    observations: int = struct.field(pytree_node=False)  # O
    actions: int = struct.field(pytree_node=False)  # A

    def __post_init__(self):
        require_sizes(self)

    def init(self, key: Array | None = None) -> Memory:
        """An empty memory. No randomness is used."""
        size = (self.steps, self.observations)
        return Memory(jnp.zeros((*size, self.actions)), jnp.zeros(size))

    def update(self, key: Array | None, memory: Memory, batch: Batch, retain: Array | float) -> Memory:
        """The memory after a batch; of what was there before, a share `retain` counts on."""
        rows = rows_of(batch, self.steps)
        return Memory(
            jnp.asarray(retain * memory.costs).at[rows].add(batch.costs),
            jnp.asarray(retain * memory.weight).at[rows].add(batch.weight),
        )

    def params(self, memory: Memory) -> Array:
        """Action probabilities of every row, [L, O, A]."""
        return self.rule(memory.costs, memory.weight)

    def policy(self, params: Array, world: World) -> Array:
        """The parameters as a policy of the world's states, [L, S, A]; raises as `of_states`."""
        return of_states(params, world)


def require_sizes(learner: Any) -> None:
    """Refuses a learner whose table would be empty, by the name of the size that is below 1."""
    for name in ("steps", "observations", "actions"):
        require(f"{type(learner).__name__}.{name}", getattr(learner, name), 1)


def of_states(params: Array, world: World) -> Array:
    """Rows of observations [L, O, A] as rows of a world's states, [L, S, A].

    Raises:
      ValueError: a table that is not of the world's sizes; L may also be 1.
    """
    steps, *sizes = params.shape
    wanted = [world.observations, world.actions]
    if steps not in (1, world.horizon) or sizes != wanted:
        raise ValueError(
            f"this learner's table has {steps} steps, {sizes[0]} observations and {sizes[1]} actions; the world has "
            f"{world.horizon} (or 1, shared over time), {wanted[0]} and {wanted[1]}"
        )
    return params[:, world.observation]


def rows_of(batch: Batch, steps: int) -> tuple[Array, Array]:
    """Which row of a table of L = `steps` each label belongs to."""
    return batch.step if steps > 1 else jnp.zeros_like(batch.step), batch.observation


def tabular(world: World, rule: Rule, shared: bool) -> Tabular:
    """A learner that fits the world's observations; `shared` over time, or with one table a step."""
    return Tabular(rule, 1 if shared else world.horizon, world.observations, world.actions)


class EnsembleMemory(NamedTuple):
    """Of all labels once more (for gates), and of every member. E members."""

    costs: Array  # [L, O, A]
    weight: Array  # [L, O]
    each: Memory  # [E, ...]
    members: Array  # [E, L, O, A] the members' policies


class Sizes(NamedTuple):
    """Of the arrays that a world was padded from, [] int."""

    steps: Array | int  # T
    states: Array | int  # S
    observations: Array | int  # O

    @classmethod
    def of(cls, world: World) -> "Sizes | None":
        """Those of a world that is padded over time; None where it is not."""
        return None if world.length is None else cls(world.length, world.states, world.observations)


class Ensemble(Node):
    """Copies of a table that saw the labels with random weights (Bayesian bootstrap) from random beginnings.

    Where there are few labels the members differ (Osband et al. 2018, arXiv 1806.03335): their spread is the doubt of
    EnsembleDAgger. The policy is the mean of the members'. Raises ValueError for fewer than 1 member or a weight
    below 0.
    """

    member: Tabular
    size: int = struct.field(pytree_node=False, default=8)  # E
    prior: float = 1e-3  # the weight of a random beginning, in labels
    sizes: Sizes | None = None  # data: it draws what arrays of these sizes would draw; None: what its own do

    def __post_init__(self):
        require("Ensemble.size", self.size, 1)
        require("Ensemble.prior", self.prior, 0, ends="[)")

    def init(self, key: Array | None = None) -> EnsembleMemory:
        """Raises ValueError without a key."""
        if key is None:
            raise ValueError("an ensemble draws: interaction.run(..., key=...) must be given")
        empty = self.member.init()
        each = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.size, *leaf.shape)), empty)
        sizes = self.sizes and ((1 if self.member.steps == 1 else self.sizes.steps), self.sizes.observations)
        each = each._replace(costs=self.prior * _drawn(jax.random.uniform, key, each.costs.shape, sizes))
        return EnsembleMemory(*empty, each, jax.vmap(self.member.params)(each))

    def update(self, key: Array, memory: EnsembleMemory, batch: Batch, retain: Array | float) -> EnsembleMemory:
        """The memory after a batch, each of whose cells counts once for all, and with a weight of mean 1 a member."""
        weights = _drawn(jax.random.exponential, key, (self.size, *batch.weight.shape), self.sizes and self.sizes[:2])

        def one(own: Memory, weights: Array) -> Memory:
            weighted = batch._replace(costs=weights[..., None] * batch.costs, weight=weights * batch.weight)
            return self.member.update(None, own, weighted, retain)

        each = jax.vmap(one)(memory.each, weights)
        pooled = self.member.update(None, Memory(memory.costs, memory.weight), batch, retain)
        return EnsembleMemory(*pooled, each, jax.vmap(self.member.params)(each))

    def params(self, memory: EnsembleMemory) -> Array:
        """The members' mean, [L, O, A]."""
        return memory.members.mean(0)

    def policy(self, params: Array, world: World) -> Array:
        """As `Tabular.policy`."""
        return self.member.policy(params, world)


def _drawn(draw: Any, key: Array, shape: tuple[int, ...], sizes: tuple[Any, Any] | None) -> Array:
    """Draws [E, T, S, ...], of which the first of both `sizes` of the T and S are those of a shape that has no more."""
    if sizes is None:
        return draw(key, shape)
    e, t, s = jnp.ogrid[: shape[0], : shape[1], : shape[2]]
    rows = draw(key, (math.prod(shape[:3]), *shape[3:]))  # JAX draws by an entry's place in the flat array
    return rows[(e * sizes[0] + t) * sizes[1] + s]

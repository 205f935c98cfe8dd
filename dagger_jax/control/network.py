"""A flax network as a learner, in any world: gradient steps on labels that are kept in a bounded buffer."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dagger_jax.laws import Categorical, Law, Normal, Point
from dagger_jax.randomness import Words
from dagger_jax.types import Array, Node, Schedule

Head = Literal["point", "normal", "categorical"]
HEADS = ("point", "normal", "categorical")


class Labels(NamedTuple):
    """Actions that were asked for. Leading axes are free."""

    observation: Any
    action: Any
    weight: Array  # [...] 0: not asked


class Trained(NamedTuple):
    """The state of a network."""

    params: Any
    optimiser: Any  # optax's state
    kept: Labels  # [capacity, ...] a ring: the newest take the place of the oldest
    count: Array  # [] int32, labels that were ever put in


class Acts(Node):
    """A network as an `Agent` without a memory."""

    params: Any
    module: Any = struct.field(pytree_node=False)
    head: Head = struct.field(pytree_node=False)

    def start(self) -> tuple[()]:
        """It carries nothing."""
        return ()

    def act(self, memory: tuple[()], view: Any, step: Array) -> tuple[tuple[()], Law]:
        """The law that its head reads off the module's output."""
        out = self.module.apply(self.params, view)
        if self.head == "categorical":
            return (), Categorical(out)
        if self.head == "point":
            return (), Point(out)
        mean, spread = jnp.split(out, 2, axis=-1)
        return (), Normal(mean, jax.nn.softplus(spread) + 1e-3)


class Network(Node):
    """See `network`. Static; `on` a world it is the loop's `Learner`."""

    module: Any = struct.field(pytree_node=False)
    optimiser: Any = struct.field(pytree_node=False)
    head: Head = struct.field(pytree_node=False)
    steps: int = struct.field(pytree_node=False)
    batch: int = struct.field(pytree_node=False)
    capacity: int = struct.field(pytree_node=False)

    def on(self, world: Any, expert: Any) -> "Bound":
        """The learner in a world."""
        return Bound(self, world, expert)


def network(
    module: Any,
    optimiser: optax.GradientTransformation,
    *,
    head: Head = "categorical",
    steps: int = 200,
    batch: int = 64,
    capacity: int = 1 << 16,
) -> Network:
    """A flax network that learns by gradient steps on all labels kept.

    Args:
      module: with flax's `init(key, observation)` and `apply(params, observation)`, of one observation.
      optimiser: any optax transformation; its state goes on from round to round.
      head: what the module's output is. "point": the action itself, fitted by squared error. "normal": mean and spread
        of a normal law, 2 x the action's size, by likelihood. "categorical": logits of numbered actions, by log loss.
      steps: gradient steps per round.
      batch: labels per step, drawn by their weight.
      capacity: labels kept; the oldest give way.

    Raises:
      ValueError: another head, or a number below 1.
    """
    if head not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, got {head!r}")
    for name, value in (("steps", steps), ("batch", batch), ("capacity", capacity)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return Network(module, optimiser, head, steps, batch, capacity)


class Bound(Node):
    """A network in a world, as the loop's `Learner`."""

    of: Network
    world: Any
    expert: Any

    def init(self, key: Array | None) -> Trained:
        """Fresh parameters, and room for labels.

        Raises:
          ValueError: a head that does not fit the expert's actions.
        """
        key = jax.random.key(0) if key is None else key
        word = jnp.zeros((), jnp.uint32)

        def shown(first: Array, second: Array) -> Any:
            words = Words(first, second)
            state, step = self.world.reset(words), jnp.zeros((), jnp.int32)
            law = self.expert.act(self.expert.start(), state, step)[1]
            return self.world.observe(state, step), law.draw(words)

        observation, action = jax.eval_shape(shown, word, word)
        numbered = all(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(action))
        if numbered != (self.of.head == "categorical"):
            kind, heads = ("numbers", "categorical") if numbered else ("vectors", "point or normal")
            raise ValueError(f"head is {self.of.head!r}, but the expert's actions are {kind}: allowed is {heads}")
        empty = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)
        params = self.of.module.init(key, jax.tree.map(empty, observation))
        room = lambda leaf: jnp.zeros((self.of.capacity, *leaf.shape), leaf.dtype)
        kept = Labels(jax.tree.map(room, observation), jax.tree.map(room, action), jnp.zeros(self.of.capacity))
        return Trained(params, self.of.optimiser.init(params), kept, jnp.zeros((), jnp.int32))

    def agent(self, state: Trained, row: Schedule) -> Acts:
        """The network as it is."""
        return Acts(state.params, self.of.module, self.of.head)

    def update(self, key: Array | None, state: Trained, batch: Labels, row: Schedule) -> tuple[Trained, Array]:
        """The state after a round's labels [n], and the mean loss of its gradient steps. [] NaN without any label."""
        kept, count = self._kept(state, batch, 1.0 if row.retain is None else row.retain)
        reached = jnp.cumsum(kept.weight)
        key = jax.random.key(0) if key is None else key

        def mean_loss(params: Any, some: Labels) -> Array:
            return jax.vmap(lambda observation, action: self._loss(params, observation, action))(*some[:2]).mean()

        def step(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], Array]:
            at = jnp.searchsorted(reached, jax.random.uniform(key, (self.of.batch,)) * reached[-1], side="right")
            some = jax.tree.map(lambda leaf: leaf[jnp.minimum(at, self.of.capacity - 1)], kept)
            loss, gradient = jax.value_and_grad(mean_loss)(carry[0], some)
            changes, inner = self.of.optimiser.update(gradient, carry[1], carry[0])
            return (optax.apply_updates(carry[0], changes), inner), loss

        before = (state.params, state.optimiser)
        after, losses = jax.lax.scan(step, before, jax.random.split(key, self.of.steps))
        labelled = reached[-1] > 0
        params, inner = jax.tree.map(lambda new, old: jnp.where(labelled, new, old), after, before)
        return Trained(params, inner, kept, count), jnp.where(labelled, losses.mean(), jnp.nan)

    def _kept(self, state: Trained, batch: Labels, retain: Array | float) -> tuple[Labels, Array]:
        new = batch.weight.shape[0]
        if new > self.of.capacity:
            raise ValueError(f"a round has {new} labels, the network keeps {self.of.capacity}: raise capacity")
        at = (state.count + jnp.arange(new)) % self.of.capacity
        before = state.kept._replace(weight=retain * state.kept.weight)
        kept = jax.tree.map(lambda room, leaf: room.at[at].set(leaf.astype(room.dtype)), before, batch)
        return kept, state.count + new

    def _loss(self, params: Any, observation: Any, action: Any) -> Array:
        law = Acts(params, self.of.module, self.of.head).act((), observation, jnp.zeros((), jnp.int32))[1]
        if isinstance(law, Point):
            return jnp.sum((law.action - action) ** 2)
        return -law.log_prob(action)

"""Laws of actions: what an agent answers with, and how it is drawn, mixed and compared.

Shapes are those of one step of one episode; `vmap` outside. Walkers that are given the same law and the same words act
alike: that is what couples them.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from dagger_jax import randomness
from dagger_jax.randomness import Words
from dagger_jax.sampling import blend, choose, heads, limit, thresholds
from dagger_jax.types import Array


class Law(Protocol):
    """The law of one action."""

    def draw(self, word: Words) -> Any:
        """An action; the same law and the same words give the same one, to rounding where actions are continuous."""
        ...

    def mix(self, share: Array, other: Any, coin: Array) -> Any:
        """The law of whose action it is `other`'s with probability `share` []; `coin` is a word of its own. []"""
        ...

    def log_prob(self, action: Any) -> Array:
        """Log probability, or log density, of an action. []"""
        ...

    def error(self, other: Any) -> Array:
        """How far another law of the same kind is: total variation of finite laws, otherwise see there. []"""
        ...


class Thresholds(NamedTuple):
    """A law over A actions, made ready for drawing: the cumulative probabilities as thresholds of a word."""

    below: Array  # [A - 1] uint32, see `sampling.thresholds`
    chance: Array  # [A] the probabilities

    def draw(self, word: Words) -> Array:
        """The index of an action. int32"""
        return choose(self.below, word.first)

    def mix(self, share: Array, other: "Thresholds", coin: Array) -> "Thresholds":
        """The mixture itself; the coin is not tossed, so that two mixtures are as alike as they can be."""
        chance = share * other.chance + (1 - share) * self.chance
        return Thresholds(blend(share, other.below, self.below), chance)

    def log_prob(self, action: Array) -> Array:
        return jnp.log(self.chance[action])

    def error(self, other: "Thresholds") -> Array:
        """Total variation."""
        return 0.5 * jnp.abs(self.chance - other.chance).sum(-1)


def finite(chance: Array) -> Thresholds:
    """The law with these probabilities [..., A]."""
    return Thresholds(thresholds(chance), chance)


class Categorical(NamedTuple):
    """A law over A actions by unnormalised log probabilities."""

    logits: Array  # [A]

    def ready(self) -> Thresholds:
        """The same law, made ready for drawing."""
        return finite(jax.nn.softmax(self.logits))

    def draw(self, word: Words) -> Array:
        return self.ready().draw(word)

    def mix(self, share: Array, other: Any, coin: Array) -> Thresholds:
        return self.ready().mix(share, other.ready() if isinstance(other, Categorical) else other, coin)

    def log_prob(self, action: Array) -> Array:
        return jax.nn.log_softmax(self.logits)[action]

    def error(self, other: Any) -> Array:
        """Total variation."""
        return self.ready().error(other.ready() if isinstance(other, Categorical) else other)


class Normal(NamedTuple):
    """Independent normal components around a mean."""

    mean: Array  # [...]
    scale: Array | float  # [...] standard deviations, or one for all

    def draw(self, word: Words) -> Array:
        return self.mean + self.scale * randomness.normal(word, jnp.shape(self.mean))

    def mix(self, share: Array, other: "Normal", coin: Array) -> "Normal":
        """By a toss of the coin: a mixture of normal laws is no normal law."""
        return _tossed(share, other, self, coin)

    def log_prob(self, action: Array) -> Array:
        return jax.scipy.stats.norm.logpdf(action, self.mean, self.scale).sum()

    def error(self, other: "Normal") -> Array:
        """Euclidean distance of the means."""
        return jnp.linalg.norm(jnp.ravel(self.mean - other.mean))


class Point(NamedTuple):
    """One action for certain, a number or a vector."""

    action: Array  # [...]

    def draw(self, word: Words) -> Array:
        return self.action

    def mix(self, share: Array, other: "Point", coin: Array) -> "Point":
        """By a toss of the coin."""
        return _tossed(share, other, self, coin)

    def log_prob(self, action: Array) -> Array:
        """0 for its action, minus infinity for any other."""
        return jnp.where(jnp.all(action == self.action), 0.0, -jnp.inf)

    def error(self, other: "Point") -> Array:
        """Euclidean distance of the actions."""
        return jnp.linalg.norm(jnp.ravel(self.action - other.action))


def _tossed(share: Array, first: Any, second: Any, coin: Array) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(heads(coin, limit(share)), a, b), first, second)

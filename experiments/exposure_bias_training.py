"""Learners of text under any schedule or controller: a table of contexts judged exactly, a transformer by sampling."""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import interaction, learners, randomness, rollout
from dagger_jax.controllers import Seen
from dagger_jax.tokens import evidence, training, transformer, walk, worlds
from dagger_jax.tokens.writers import Frozen, Machine
from dagger_jax.types import Array, Node, Problem, Schedule


class Either(Node):
    """One of several controllers, by a number that is data: all of them share one compiled program."""

    which: Array | int
    options: tuple[Any, ...]
    column: ClassVar[str] = "join"

    def init(self, horizon: int) -> tuple[tuple[Any, ...], Array]:
        """All states, and the first starts of the one."""
        return self._chosen([option.init(horizon) for option in self.options])

    def update(self, state: tuple[Any, ...], seen: Seen) -> tuple[tuple[Any, ...], Array]:
        """All states after the one's round, and its starts."""
        return self._chosen([option.update(own, seen) for option, own in zip(self.options, state, strict=True)])

    def _chosen(self, each: Sequence[tuple[Any, Array]]) -> tuple[tuple[Any, ...], Array]:
        states, starts = zip(*each, strict=True)
        return states, jnp.stack([start.astype(jnp.float32) for start in starts])[self.which]


class Judged(NamedTuple):
    """Errors accumulated over the first l tokens, l = 1..T, of each replica. [R, T]"""

    own_kl: np.ndarray  # nats, at the learner's own prefixes: R(l)
    expert_kl: np.ndarray  # nats, at the expert's: l eps(l)
    own_tv: np.ndarray  # the same for total variation, the 0-1 loss
    expert_tv: np.ndarray
    own_cost: np.ndarray  # of the learner's tokens
    expert_cost: np.ndarray  # of the expert's own


# ---- a table of contexts ----------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("episodes",))
def train_tables(
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    controller: Any,
    keys: Array,
    smoothing: float,
    *,
    episodes: int,
) -> Array:
    """Policies [R, 1, S, V]: counts of the expert's sampled tokens by context, `smoothing` added to each."""
    ids = jnp.arange(episodes, dtype=jnp.uint32)
    rule = learners.LogLoss(smoothing / episodes)  # label weights are per episode

    def one(problem: Problem, sampler: rollout.Tables, key: Array) -> Array:
        learner = learners.tabular(problem.world, rule, shared=True)
        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids)
        played = interaction.run(
            problem, schedule, learner, interpreter, controller=controller, episodes=float(episodes)
        )
        return played.newest

    return jax.vmap(one)(problems, samplers, keys)


def judge_table(problem: Problem, policy: Array, cost: str) -> Judged:
    """Exact, in float64; one replica."""
    policy = np.asarray(policy, np.float64)
    learner = worlds.as_machine(problem, policy / policy.sum(-1, keepdims=True))
    expert = worlds.as_machine(problem, problem.expert)
    seen = evidence.expected(expert, learner, evidence.alone(problem.world.horizon), cost)
    return _accumulated(seen, lambda values: np.asarray(values, np.float64)[None])


# ---- a transformer ----------------------------------------------------------------------------------------------


@functools.cache
def adam(rate: float) -> optax.GradientTransformation:
    """One object a rate, for it is part of what a program is compiled for."""
    return optax.adam(rate)


def train_transformer(
    config: transformer.Config,
    rate: float,
    expert: Machine,
    schedule: Schedule,
    controller: Either | None,
    key: Array,
    *,
    episodes: int,
) -> Frozen:
    """A fresh transformer after all rounds of a schedule, one step of Adam a round."""
    # A controller must not take the expert's own walk for the learner's.
    schedule = schedule if controller is None else schedule._replace(beta=0 * schedule.beta)
    training.reads(schedule)  # refuses what writers do not know
    recipe = training.Recipe(config, adam(rate))  # one program for k = T and all others
    begins, rounds = jax.random.split(key)
    state = training.begin(recipe, begins, controller)
    ids = jnp.arange(episodes, dtype=jnp.uint32)
    words, number = randomness.words(rounds), schedule.beta.shape[0]
    state, _ = training.advance(recipe, expert, schedule, state, words, ids, rounds=number, controller=controller)
    return Frozen(config, state.params)


_play = jax.jit(walk.play)


def judge_transformer(expert: Machine, learner: Frozen, cost: str, key: Array, texts: int, parts: int) -> Judged:
    """Means over fresh texts, in equal parts: [R = parts, T]."""
    horizon = learner.config.length
    words = randomness.for_round(randomness.words(key), 0)
    text = _play(expert, learner, evidence.alone(horizon), words, jnp.arange(texts, dtype=jnp.uint32))
    seen = jax.device_get(evidence.read(expert, learner, text, evidence.charge(expert, horizon, cost)))
    return _accumulated(seen.walks, lambda values: np.asarray(values, np.float64).T.reshape(parts, -1, horizon).mean(1))


def _accumulated(seen: evidence.Walks, replicas: Any) -> Judged:
    own, expert = seen
    each = own.kl, expert.kl, own.tv, expert.tv, own.cost, expert.cost
    return Judged(*(np.cumsum(replicas(values), axis=-1) for values in each))

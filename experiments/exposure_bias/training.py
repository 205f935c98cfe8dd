"""Learners of text under any schedule or controller: tables of contexts judged exactly, transformers by sampling."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import randomness
from dagger_jax.tabular import interaction, learners, rollout
from dagger_jax.text import evidence, training, transformer, walk, worlds
from dagger_jax.text.writers import Frozen, Machine, Writer
from dagger_jax.types import Array, Problem, Schedule

from ..claim import devices
from ..shared import study


class Judged(NamedTuple):
    """Errors accumulated over the first l tokens, l = 1..T, of each learner. [R, T]"""

    own_kl: np.ndarray  # nats, at the learner's own prefixes: R(l)
    expert_kl: np.ndarray  # nats, at the expert's: l eps(l)
    own_tv: np.ndarray  # the same for total variation, the 0-1 loss
    expert_tv: np.ndarray
    expert_nats: np.ndarray  # the learner's log loss on the expert's texts
    own_cost: np.ndarray  # of the learner's tokens
    expert_cost: np.ndarray  # of the expert's own


# ---- a table of contexts ----------------------------------------------------------------------------------------


@functools.partial(devices.jit, static_argnames=("episodes",))
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

    return devices.over_devices(jax.vmap(one))(problems, samplers, keys)


def judge_tables(problems: Sequence[Problem], policies: Array, cost: str) -> Judged:
    """Exact, in float64."""

    def one(problem: Problem, policy: np.ndarray) -> evidence.Walks:
        learner = worlds.as_machine(problem, policy / policy.sum(-1, keepdims=True))
        expert = worlds.as_machine(problem, problem.expert)
        return evidence.expected(expert, learner, evidence.alone(problem.world.horizon), cost)

    each = map(one, problems, np.asarray(policies, np.float64))
    return _accumulated(jax.tree.map(lambda *leaves: np.stack(leaves), *each))


# ---- transformers -----------------------------------------------------------------------------------------------


@functools.cache
def adam(rate: float) -> optax.GradientTransformation:
    """One object a rate, for it is part of what a program is compiled for."""
    return optax.adam(rate)


def train_transformers(
    config: transformer.Config,
    rate: float,
    experts: Sequence[Writer],
    schedule: Schedule,
    controller: Any,
    keys: Array,
    *,
    episodes: int,
) -> Any:
    """Parameters [R, ...] of fresh transformers after all rounds of a schedule, one step of Adam a round.

    A writer and a key [R] each; all are trained in one program. As with tables, a controller waits where the schedule's
    beta lets the expert write for the learner.
    """
    training.reads(schedule)  # refuses what writers do not know
    recipe = training.Recipe(config, adam(rate))  # one program for k = T and all others
    return _train(recipe, study.stacked(experts), schedule, controller, keys, episodes=episodes)


@functools.partial(jax.jit, static_argnames=("recipe", "episodes"))
def _train(
    recipe: training.Recipe, experts: Writer, schedule: Schedule, controller: Any, keys: Array, *, episodes: int
) -> Any:
    ids, rounds = jnp.arange(episodes, dtype=jnp.uint32), schedule.join.shape[0]

    def one(expert: Writer, key: Array) -> Any:
        begins, plays = jax.random.split(key)
        state, words = training.begin(recipe, begins, controller), randomness.words(plays)
        how = {"rounds": rounds, "controller": controller}
        return training.advance(recipe, expert, schedule, state, words, ids, **how)[0].learner.params

    return jax.vmap(one)(experts, keys)


def judge_transformers(
    config: transformer.Config, experts: Sequence[Writer], params: Any, cost: str | None, keys: Array, texts: int
) -> Judged:
    """Means over the fresh texts of each transformer, parameters [R, ...]; without a `cost` it is 0."""
    priced = lambda expert: None if cost is None else evidence.charge(expert, config.length, cost)
    charged = study.stacked(list(map(priced, experts)))
    return _accumulated(jax.device_get(_judge(config, study.stacked(experts), params, charged, keys, texts)))


@functools.partial(jax.jit, static_argnames=("config", "texts"))
def _judge(
    config: transformer.Config, experts: Writer, params: Any, charged: Machine | None, keys: Array, texts: int
) -> evidence.Walks:
    row, ids = evidence.alone(config.length), jnp.arange(texts, dtype=jnp.uint32)

    def one(expert: Writer, params: Any, charged: Machine | None, key: Array) -> evidence.Walks:
        learner = Frozen(config, params)
        text = walk.play(expert, learner, row, randomness.for_round(randomness.words(key), 0), ids)
        return jax.tree.map(lambda leaf: leaf.mean(1), evidence.read(expert, learner, text, charged).walks)

    return jax.vmap(one)(experts, params, charged, keys)


def _accumulated(seen: evidence.Walks) -> Judged:
    own, expert = seen
    each = own.kl, expert.kl, own.tv, expert.tv, expert.nats, own.cost, expert.cost
    return Judged(*(np.cumsum(np.asarray(values, np.float64), axis=-1) for values in each))

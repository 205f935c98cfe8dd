"""The outer loop of every algorithm: play a round, ask for labels, fit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import exact, randomness, rollout
from dagger_jax.labels import Label, imitate
from dagger_jax.learners import Tabular
from dagger_jax.types import Array, Play, Problem, Schedule

Interpreter = Callable[[Array, Schedule, Array], Play]


class Moment(NamedTuple):
    """What a round shows to whoever measures it."""

    round: Array  # [] from 0
    row: Schedule  # columns [T]
    acting: Array  # [L, S, A] the learner's policy that played this round
    play: Play  # what the interpreter saw
    memory: Any  # the learner's memory after this round's labels
    newest: Array  # [L, S, A] the policy fitted to it


class Outcome(NamedTuple):
    """After N rounds."""

    memory: Any
    newest: Array  # [L, S, A] the policy fitted to all labels kept
    acting: Array  # [L, S, A] the mixture that would play the next round
    measured: Any  # what `measure` returned, stacked over rounds


def exactly(problem: Problem) -> Interpreter:
    """Labels in their exact proportions: infinitely many episodes a round."""
    return lambda policy, row, round: exact.frequencies(problem, exact.play(problem, policy, row))


def by_sampling(
    world: rollout.Tables, key: randomness.Words, episodes: Array, alone: bool = False, block: int = rollout.BLOCK
) -> Interpreter:
    """Labels of sampled episodes, the same indices [B] in each round, under a key of the round's own."""

    def interpret(policy: Array, row: Schedule, round: Array) -> Play:
        round_key = randomness.for_round(key, round)
        return rollout.play(world, policy, row, round_key, episodes, alone=alone, block=block)[0]

    return interpret


def run(
    problem: Problem,
    schedule: Schedule,
    learner: Tabular,
    interpreter: Interpreter,
    *,
    label: Label = imitate,
    measure: Callable[[Moment], Any] = lambda moment: None,
    key: Array | None = None,
) -> Outcome:
    """All rounds of one algorithm. Pure: jit it, vmap it over schedules, keys or problems.

    Args:
      problem: the world and its expert.
      schedule: [N, T].
      learner: fits the labels.
      interpreter: `exactly` or `by_sampling`.
      label: what is asked of the expert.
      measure: pure; what it returns of each round is stacked in `Outcome.measured`.
      key: for learners that draw.
    """

    def one_round(carry: tuple[Any, Array], xs: tuple[Array, Schedule]) -> tuple[tuple[Any, Array], Any]:
        memory, acting = carry
        round, row = xs
        play = interpreter(acting, row, round)
        batch = label(problem, play, row, acting)
        memory = learner.update(
            None if draws is None else jax.random.fold_in(draws, round), memory, batch, row.keep
        )
        newest = learner.policy(learner.params(memory), problem.world)
        measured = measure(Moment(round, row, acting, play, memory, newest))
        return (memory, (1 - row.rate) * acting + row.rate * newest), measured

    begin, draws = (None, None) if key is None else jax.random.split(key)
    memory = learner.init(begin)
    untrained = learner.policy(learner.params(memory), problem.world)
    rounds = jnp.arange(schedule.beta.shape[0])
    (memory, acting), measured = jax.lax.scan(one_round, (memory, untrained), (rounds, schedule))
    return Outcome(memory, learner.policy(learner.params(memory), problem.world), acting, measured)

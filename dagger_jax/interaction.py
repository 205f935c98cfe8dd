"""The outer loop of every algorithm: play a round, ask for labels, fit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from dagger_jax import exact, randomness, rollout
from dagger_jax.controllers import Controller, Seen
from dagger_jax.gates import Gate
from dagger_jax.labels import Label, fits, imitate
from dagger_jax.learners import Learner
from dagger_jax.precision import single
from dagger_jax.schedules import training_weights, validate
from dagger_jax.types import Array, Play, Problem, Schedule, Takeover

# (policy, row, round), and what the gate decides where there is one
Interpreter = Callable[..., Play]


class Moment(NamedTuple):
    """What a round shows to whoever measures it."""

    round: Array  # [] from 0
    row: Schedule  # columns [T], as they were played
    acting: Array  # [L, S, A] the learner's policy that played this round
    play: Play  # what the interpreter saw
    asked: Array  # [] labels asked, per episode
    memory: Any  # the learner's memory after this round's labels
    newest: Array  # [L, S, A] the policy fitted to it


class Outcome(NamedTuple):
    """After N rounds."""

    memory: Any
    newest: Array  # [L, S, A] the policy fitted to all labels kept
    acting: Array  # [L, S, A] the mixture that would play the next round
    measured: Any  # what `measure` returned, stacked over rounds
    control: Any  # the controller's state


def exactly(problem: Problem) -> Interpreter:
    """Labels in their exact proportions: infinitely many episodes a round."""
    return lambda policy, row, round, *gated: exact.frequencies(problem, exact.play(problem, policy, row, *gated))


class Sampling(NamedTuple):
    """Labels of sampled episodes, the same indices in each round, under a key of the round's own. See `by_sampling`."""

    world: rollout.Tables
    key: randomness.Words
    episodes: Array  # [B] uint32
    alone: bool
    block: int | None

    def __call__(self, policy: Array, row: Schedule, round: Array, *gated: Takeover) -> Play:
        key = randomness.for_round(self.key, round)
        walks = {"alone": self.alone, "block": self.block}
        return rollout.play(self.world, policy, row, key, self.episodes, *gated, **walks)[0]


def by_sampling(
    world: rollout.Tables, key: randomness.Words, episodes: Array, alone: bool = False, block: int | None = None
) -> Interpreter:
    """Labels of sampled episodes, the same indices [B] in each round, under a key of the round's own.

    Runs that are interpreted so compute in float32, whatever JAX_ENABLE_X64 says.
    """
    return Sampling(world, key, episodes, alone, block)


def run(
    problem: Problem,
    schedule: Schedule,
    learner: Learner,
    interpreter: Interpreter,
    *,
    label: Label = imitate,
    measure: Callable[[Moment], Any] = lambda moment: None,
    controller: Controller | None = None,
    gate: Gate | None = None,
    episodes: Array | float = jnp.inf,
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
      controller: rewrites its column (`join`, or DART's `noise`) round by round from what it has seen, but after
        rounds with beta > 0, which show the expert; None: the schedule's own.
      gate: where the expert takes over from the novice and is asked; None: where the schedule says. It reads the
        novice's walk, and labels of the guide are not gated.
      episodes: how many the interpreter plays a round, for the controller's confidence limits.
      key: for learners that draw.

    Raises:
      ValueError: a concrete schedule that makes no sense, see `schedules.validate`, or of another horizon; a controller
        and a gate at once; a learner or a gate that cannot read the labels, see `labels.fits`.
    """
    options = {"label": label, "measure": measure, "controller": controller, "gate": gate}
    every = single(_run) if isinstance(interpreter, Sampling) else _run
    return every(problem, schedule, learner, interpreter, **options, episodes=episodes, key=key)


def _run(
    problem: Problem,
    schedule: Schedule,
    learner: Learner,
    interpreter: Interpreter,
    *,
    label: Label,
    measure: Callable[[Moment], Any],
    controller: Controller | None,
    gate: Gate | None,
    episodes: Array | float,
    key: Array | None,
) -> Outcome:
    if controller is not None and gate is not None:
        raise ValueError("a controller reads the learner's own walk, a gate interrupts it: give one of them")
    fits(label, learner, gate)
    if (steps := schedule.join.shape[-1]) != problem.world.horizon:
        raise ValueError(f"the schedule has {steps} steps, the world's horizon is {problem.world.horizon}")
    if not isinstance(schedule.join, jax.core.Tracer):
        validate(schedule)

    def one_round(carry: tuple[Any, ...], xs: tuple[Array, Schedule]) -> tuple[tuple[Any, ...], Any]:
        memory, mixture, control, column, law = carry
        round, row = xs
        row = row if controller is None else row._replace(**{controller.column: column})
        gated = () if gate is None else (gate(problem, memory, mixture, law),)
        play = interpreter(mixture, row, round, *gated)
        law = play.novice.sum(-1)
        asked = play if play.helped is None else play._replace(novice=play.helped)
        batch = label(problem, asked, row, mixture)
        memory = learner.update(None if draws is None else jax.random.fold_in(draws, round), memory, batch, row.keep)
        newest = learner.policy(learner.params(memory), problem.world)
        measured = measure(Moment(round, row, mixture, play, batch.weight.sum(), memory, newest))
        if controller is not None:
            updated, after = controller.update(control, _seen(problem, row, play, mixture, episodes))
            # Where the expert moves the novice too, what is seen of the learner is not its own.
            own = row.beta.max() == 0
            control = jax.tree.map(lambda new, old: jnp.where(own, new, old), updated, control)
            column = jnp.where(own, after.astype(column.dtype), column)
        return (memory, (1 - row.rate) * mixture + row.rate * newest, control, column, law), measured

    begin, draws = (None, None) if key is None else jax.random.split(key)
    memory = learner.init(begin)
    untrained = learner.policy(learner.params(memory), problem.world)
    rounds = jnp.arange(schedule.join.shape[0])
    control, column = (None, None) if controller is None else controller.init(problem.world.horizon)
    column = None if column is None else column.astype(schedule.join.dtype)
    horizon, states = problem.world.horizon, problem.world.states
    unplayed = jnp.zeros((horizon, states), untrained.dtype)
    carry = (memory, untrained, control, column, unplayed)
    (memory, acting, control, _, _), measured = jax.lax.scan(one_round, carry, (rounds, schedule))
    newest = learner.policy(learner.params(memory), problem.world)
    return Outcome(memory, newest, acting, measured, control)


def _seen(problem: Problem, row: Schedule, play: Play, policy: Array, episodes: Array | float) -> Seen:
    """What a controller may know of a round: the learner's error where it was labelled, and who parted."""
    if play.guide is None or play.agreement is None:
        raise ValueError("a controller reads the guide's walk: sample with alone=False")
    novice_share, guide_share = training_weights(row)
    law = novice_share[:, None] * play.novice.sum(-1) + guide_share[:, None] * play.guide.sum(-1)
    error = 0.5 * jnp.abs(policy - problem.expert).sum(-1)
    beta = row.beta[:, None, None]
    acts = beta * problem.expert + (1 - beta) * policy
    cost = (play.novice.sum(-1)[..., None] * acts * problem.world.cost).sum()
    return Seen(row.join, (law * error).sum(-1), play.agreement, cost, jnp.asarray(episodes), problem.world.actions)

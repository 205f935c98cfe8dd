"""Tables in the outer loop: how `loop` plays, labels and fits where worlds and policies are tables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from dagger_jax import loop, randomness, walk
from dagger_jax.controllers import Controller, Seen
from dagger_jax.precision import single
from dagger_jax.schedules import filled, training_weights, validate
from dagger_jax.tabular import exact, rollout
from dagger_jax.tabular.gates import Gate
from dagger_jax.tabular.labels import Label, fits, imitate
from dagger_jax.tabular.learners import Learner
from dagger_jax.types import Array, Batch, Intervention, Occupancy, Problem, Schedule, World

# (policy, row, round), and what the gate decides where there is one
Interpreter = Callable[..., Occupancy]


class Moment(NamedTuple):
    """What a round shows to whoever measures it."""

    round: Array  # [] from 0
    row: Schedule  # columns [T], as they were played
    acting: Array  # [L, S, A] the learner's policy that played this round
    play: Occupancy  # what the interpreter saw
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
    labelled: bool

    def __call__(self, policy: Array, row: Schedule, round: Array, *gated: Intervention) -> Occupancy:
        key = randomness.for_round(self.key, round)
        walks = {"alone": self.alone, "block": self.block}
        world = self.world
        if self.labelled:  # whatever is beyond is zero labels
            asked = (jnp.asarray(row.label_guide) > 0) | (jnp.asarray(row.label_novice) > 0)
            last = jnp.where(asked, jnp.arange(1, world.horizon + 1), 0).max()
            world = world.replace(length=jnp.minimum(last, walk.taken(world)))
        return rollout.play(world, policy, row, key, self.episodes, *gated, **walks)[0]


def by_sampling(
    world: rollout.Tables,
    key: randomness.Words,
    episodes: Array,
    alone: bool = False,
    block: int | None = None,
    labelled: bool = False,
) -> Interpreter:
    """Labels of sampled episodes, the same indices [B] in each round, under a key of the round's own.

    Runs that are interpreted so compute in float32, whatever JAX_ENABLE_X64 says.

    Args:
      world: from `rollout.tables`.
      key: of the run.
      episodes: [B] uint32.
      alone: as in `rollout.play`.
      block: as in `rollout.play`.
      labelled: no round walks past the last step that its row labels. For fitting alone: a gate, a controller or a
        `measure` that reads the round's play finds nothing beyond. Schedules must not be batched under `vmap`.
    """
    return Sampling(world, key, episodes, alone, block, labelled)


class Mixture(NamedTuple):
    """A tabular learner's memory, and the policy that acts: below `row.mixing_rate` 1 a mixture of all so far."""

    memory: Any
    acting: Array  # [L, S, A]


class Acting(NamedTuple):
    """A tabular learner in a world, as the loop's `Learner`. Its agent is its policy [L, S, A]."""

    learner: Learner
    world: World

    def newest(self, memory: Any) -> Array:
        """The policy fitted to all labels kept, [L, S, A]."""
        return self.learner.policy(self.learner.params(memory), self.world)

    def init(self, key: Array | None) -> Mixture:
        """An untrained learner."""
        memory = self.learner.init(key)
        return Mixture(memory, self.newest(memory))

    def agent(self, state: Mixture, row: Schedule) -> Array:
        """The mixture."""
        return state.acting

    def update(self, key: Array | None, state: Mixture, batch: Batch, row: Schedule) -> tuple[Mixture, Array]:
        """The state after a batch, and the newest policy."""
        memory = self.learner.update(key, state.memory, batch, 1.0 if row.retain is None else row.retain)
        newest = self.newest(memory)
        acting = newest if row.mixing_rate is None else (1 - row.mixing_rate) * state.acting + row.mixing_rate * newest
        return Mixture(memory, acting), newest


class Gated(NamedTuple):
    """A gate on tables, as the loop's `Gate`: it keeps the novice's law in the last round, [T, S]."""

    gate: Gate
    problem: Problem
    dtype: Any

    def init(self) -> Array:
        """Before there is a law."""
        return jnp.zeros((self.problem.world.horizon, self.problem.world.states), self.dtype)

    def decide(self, kept: Array, learner: Mixture) -> Intervention:
        """Where the expert takes over."""
        return self.gate(self.problem, learner.memory, learner.acting, kept)

    def update(self, kept: Array, shown: Occupancy) -> Array:
        """The law of the round."""
        return shown.novice.sum(-1)


def parts(
    problem: Problem,
    learner: Learner,
    interpreter: Interpreter,
    *,
    label: Label = imitate,
    controller: Controller | None = None,
    gate: Gate | None = None,
    episodes: Array | float = jnp.inf,
) -> loop.Parts:
    """What the loop calls of a tabular run; arguments and errors as in `run`."""
    fits(label, learner, gate)

    def asks(play: Occupancy, row: Schedule, acting: Array) -> Batch:
        return label(problem, play if play.intervened is None else play._replace(novice=play.intervened), row, acting)

    return loop.Parts(
        learner=Acting(learner, problem.world),
        play=lambda acting, row, round, takeover: interpreter(
            acting, row, round, *(() if gate is None else (takeover,))
        ),
        label=asks,
        seen=lambda row, acting, play: _seen(problem, row, play, acting, episodes),
        gate=None if gate is None else Gated(gate, problem, jnp.result_type(float)),
        controller=controller,
    )


def run(
    problem: Problem,
    schedule: Schedule,
    learner: Learner,
    interpreter: Interpreter,
    *,
    measure: Callable[[Moment], Any] = lambda moment: None,
    key: Array | None = None,
    rounds: Array | None = None,
    **options: Any,
) -> Outcome:
    """All rounds of one algorithm. Pure: jit it, vmap it over schedules, keys or problems.

    Args:
      problem: the world and its expert.
      schedule: [N, T].
      learner: fits the labels.
      interpreter: `exactly` or `by_sampling`.
      label: what is asked of the expert.
      measure: pure; what it returns of each round is stacked in `Outcome.measured`.
      rounds: [] int: only so many of the N rounds are done. It is data, as in `loop.advance`. None: all.
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
    every = single(_run) if isinstance(interpreter, Sampling) else _run
    return every(problem, schedule, learner, interpreter, measure, key, rounds, options)


def _run(
    problem: Problem,
    schedule: Schedule,
    learner: Learner,
    interpreter: Interpreter,
    measure: Callable[[Moment], Any],
    key: Array | None,
    rounds: Array | None,
    options: dict[str, Any],
) -> Outcome:
    whole = parts(problem, learner, interpreter, **options)
    if (steps := schedule.join.shape[-1]) != problem.world.horizon:
        raise ValueError(f"the schedule has {steps} steps, the world's horizon is {problem.world.horizon}")
    if not any(isinstance(column, jax.core.Tracer) for column in schedule):
        validate(schedule)
    begins, draws = (None, None) if key is None else jax.random.split(key)

    def seen(at: loop.Moment) -> Any:
        asked = at.batch.weight.sum()
        return measure(Moment(at.round, at.row, at.agent, at.shown, asked, at.learner.memory, at.info))

    makes = {"gate": whole.gate, "controller": whole.controller}
    state = loop.begin(whole.learner, begins, problem.world.horizon, **makes)
    every = schedule.join.shape[0]
    state, measured = loop.advance(whole, schedule, state, rounds=every, length=rounds, key=draws, measure=seen)
    memory, acting = state.learner
    return Outcome(memory, Acting(learner, problem.world).newest(memory), acting, measured, state.control)


def _seen(problem: Problem, row: Schedule, play: Occupancy, policy: Array, episodes: Array | float) -> Seen:
    """What a controller may know of a round: the learner's error where it was labelled, and who parted."""
    if play.guide is None or play.agreement is None:
        raise ValueError("a controller reads the guide's walk: sample with alone=False")
    novice_share, guide_share = training_weights(row)
    law = novice_share[:, None] * play.novice.sum(-1) + guide_share[:, None] * play.guide.sum(-1)
    error = 0.5 * jnp.abs(policy - problem.expert).sum(-1)
    told = (row.join, (law * error).sum(-1), play.agreement, cost(problem, row, play, policy))
    return Seen(*told, jnp.asarray(episodes), problem.world.actions, problem.world.length)


def cost(problem: Problem, row: Schedule, play: Occupancy, policy: Array) -> Array:
    """The novice's expected total cost, given the states that it visited and without takeovers. []"""
    beta = filled(row).beta[:, None, None]
    acts = beta * problem.expert + (1 - beta) * policy
    return (play.novice.sum(-1)[..., None] * acts * problem.world.cost).sum()

"""Any row of the zoo trained on sampled labels in a batch of problems, priced, and judged exactly after every round."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax import evidence, randomness, ties
from dagger_jax.algorithms import Algorithm
from dagger_jax.controllers import FittedNoise
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, rollout
from dagger_jax.tabular.learners import Tabular
from dagger_jax.types import Array, Batch, Intervention, Node, Problem, Schedule, World

from ..claim import devices
from .study import Tree, chosen, over


class Trained(NamedTuple):
    """R runs of N rounds. The stack of policies takes R N L S A floats: `zoo` trains runs in slices that fit."""

    first: Array  # [R, L, S, A] untrained: it plays the first round
    newest: Array  # [R, N, L, S, A] fitted after each round
    rows: Schedule  # [R, N, T] as they were played
    loss: Array  # [R, N] of the policy that played the round, a label of it: it had not seen them
    labels: Array  # [R, N] per episode of the round, as all prices
    handovers: Array  # [R, N] hand-overs, or interventions of a gate
    switches: Array  # [R, N] times the expert took or gave control; twice the hand-overs where there is no gate
    expert_steps: Array  # [R, N] steps that the expert acted, its roll-outs included


class Chosen(Node):
    """One of several functions by a number that is data, so that rows of the zoo share one compiled program.

    All of them are called; of labels, rules and gates alike each result is a tree of arrays of the same shapes.
    """

    which: Array  # [] int
    options: tuple[Any, ...]

    @classmethod
    def of(cls, options: Mapping[Any, Any], name: Any) -> "Chosen":
        """The one of that name."""
        return cls(np.asarray(list(options).index(name)), tuple(options.values()))

    def __call__(self, *args: Any) -> Any:
        results = [option(*args) for option in self.options]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[self.which], *results)


class Several(Node):
    """One of several learners by a number that is data: all of them learn, one acts. Its memory is all of theirs."""

    which: Array  # [] int
    options: tuple[Any, ...]

    def init(self, key: Array | None = None) -> tuple[Any, ...]:
        return tuple(option.init(key) for option in self.options)

    def update(self, key: Any, memory: tuple[Any, ...], batch: Batch, retain: Array | float) -> tuple[Any, ...]:
        pairs = zip(self.options, memory, strict=True)
        return tuple(option.update(key, own, batch, retain) for option, own in pairs)

    def params(self, memory: tuple[Any, ...]) -> Array:
        each = [option.params(own) for option, own in zip(self.options, memory, strict=True)]
        return jnp.stack(each)[self.which]

    def policy(self, params: Array, world: World) -> Array:
        return self.options[0].policy(params, world)


class Reading(Node):
    """A gate that reads the memory of one of `Several` learners."""

    gate: Any
    place: int = struct.field(pytree_node=False)

    def __call__(self, problem: Problem, memory: tuple[Any, ...], policy: Array, law: Array) -> Intervention:
        return self.gate(problem, memory[self.place], policy, law)


class Parts(NamedTuple):
    """What is not a table in a row of the zoo; trees of arrays."""

    label: Any
    learner: Any
    gate: Any
    controller: Any


def parts(algorithm: Algorithm, world: World, shared: bool) -> Parts:
    """A row's own label, learner, gate and controller, for worlds of these sizes."""
    label = algorithm.label
    whole = label if isinstance(label, Node) else jax.tree_util.Partial(label)
    return Parts(whole, algorithm.learner(world, shared), algorithm.gate, algorithm.controller)


def together(each: Sequence[Parts]) -> list[Parts]:
    """Parts of several rows as choices of the same trees, whose results are those of each alone.

    Gates on all of them or on none. Controllers: DART's, which without its scale is none.

    Raises:
      ValueError: another controller.
    """
    if any(not isinstance(one.controller, FittedNoise | None) for one in each):
        raise ValueError("only rows without controllers, or with DART's, can be trained together")
    is_table = [type(one.learner) is Tabular for one in each]
    tables = [one.learner for one, table in zip(each, is_table, strict=True) if table]
    rules = [(one.learner if table else tables[0]).rule for one, table in zip(each, is_table, strict=True) if tables]
    others = _distinct([one.learner for one, table in zip(each, is_table, strict=True) if not table])
    # Tables differ in their rules alone, and are one of the learners; the others follow.
    learner = [
        0 if table else bool(tables) + list(others).index(_known_by(one.learner))
        for one, table in zip(each, is_table, strict=True)
    ]
    several = bool(tables) + len(others) > 1
    labels, gates = [one.label for one in each], [one.gate for one in each]
    if several:
        gates = [None if gate is None else Reading(gate, place) for gate, place in zip(gates, learner, strict=True)]
    noisy = any(one.controller is not None for one in each)

    def learns(place: int) -> Any:
        options = [tables[0].replace(rule=_choice(place, rules))] if tables else []
        options += others.values()
        return Several(np.asarray(learner[place]), tuple(options)) if several else options[0]

    return [
        Parts(
            _choice(place, labels),
            learns(place),
            None if gates[0] is None else _choice(place, gates),
            (one.controller or FittedNoise(0.0)) if noisy else None,
        )
        for place, one in enumerate(each)
    ]


def _known_by(option: Any) -> Any:
    return jax.tree.structure(option), *jax.tree.leaves(option)


def _distinct(options: Sequence[Any]) -> dict[Any, Any]:
    return {_known_by(option): option for option in options}


def _choice(place: int, options: Sequence[Any]) -> Chosen:
    return Chosen.of(_distinct(options), _known_by(options[place]))


def train(
    algorithm: Algorithm,
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    keys: Array,
    *,
    episodes: int,
    shared: bool,
) -> Trained:
    """Trains one row of the zoo on sampled labels, with its label, learner, gate and controller.

    Args:
      algorithm: the row.
      problems: a batch of R, stacked.
      samplers: theirs, from `rollout.tables`, stacked.
      schedule: [N, T], the same for all, or [R, N, T], one a run.
      keys: [R].
      episodes: a round.
      shared: one table for all steps.
    """
    runs = keys.shape[0]
    # One table's sizes are those of all: the learner is built from the first problem's.
    own = parts(algorithm, chosen(problems.world, 0), shared)
    schedules = schedule if schedule.beta.ndim == 3 else repeat(schedule, runs)
    return train_batch(repeat(own, runs), problems, samplers, schedules, keys, episodes=episodes)


def repeat(tree: Tree, times: int) -> Tree:
    """The same tree of arrays and numbers for each of a number of runs, on the host."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (times, *np.shape(leaf))), tree)


@functools.partial(devices.jit, static_argnames=("episodes",))
def train_batch(
    each: Parts,
    problems: Problem,
    samplers: rollout.Tables,
    schedules: Schedule,
    keys: Array,
    rounds: Array | None = None,
    *,
    episodes: int,
) -> Trained:
    """`train` for runs that differ in everything: each argument is a batch of R.

    But `rounds`, [] int, how many of the N are done; None: all. What is measured of the others is 0.
    """
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(own: Parts, problem: Problem, sampler: rollout.Tables, schedule: Schedule, key: Array) -> Trained:
        def record(moment: interaction.Moment) -> tuple[Any, ...]:
            row, seen = moment.row, moment.play.novice
            agreed = (seen * moment.acting).sum() / jnp.maximum(seen.sum(), 1e-9)
            common = moment.newest, row, 1 - agreed
            if own.gate is None:
                asked = evidence.prices(row, problem.world.actions, problem.world.length)
                return *common, asked.labels, asked.handovers, 2 * asked.handovers, asked.steps
            gated = evidence.gated_prices(moment.play, problem.world.length)
            return *common, gated.labels, gated.interventions, gated.switches, gated.labels

        outcome = interaction.run(
            problem,
            schedule,
            own.learner,
            interaction.by_sampling(sampler, randomness.words(key), ids),
            label=own.label,
            measure=record,
            controller=own.controller,
            gate=own.gate,
            episodes=float(episodes),
            key=key,
            rounds=rounds,
        )
        begun = own.learner.params(own.learner.init(jax.random.split(key)[0]))  # as `run` begins
        return Trained(own.learner.policy(begun, problem.world), *outcome.measured)

    each_run = jax.vmap(one, (0, over(problems), over(samplers), 0, 0))
    return devices.over_devices(each_run)(each, problems, samplers, schedules, keys)


@float64
def gaps(problems: Problem, policies: Array) -> Array:
    """Exact J(pi) - J(pi*) of policies [R, N, L, S, A] in problems [R]. [R, N]"""

    def one(problem: Problem, policy: Array) -> Array:
        deployed = exact.deploy(problem, policy)
        return deployed.novice_cost - deployed.guide_cost

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(over(problems), 0))(problems, policies)


def played(trained: Trained) -> np.ndarray:
    """The policies that played rounds 1..N, and the one that would play the next; float64. [R, N + 1, L, S, A]"""
    newest = normalised(trained.newest)
    acting = [normalised(trained.first)]
    for n, rate in enumerate(np.moveaxis(np.asarray(trained.rows.mixing_rate, float), 1, 0)):
        rate = rate.reshape(-1, *[1] * (newest.ndim - 2))
        acting.append((1 - rate) * acting[-1] + rate * newest[:, n])
    return np.stack(acting, axis=1)


def normalised(policy: Array) -> np.ndarray:
    """A policy fitted in float32 as laws in float64: theorems hold to 1e-9."""
    policy = np.asarray(policy, np.float64)
    return policy / policy.sum(-1, keepdims=True)


def results(algorithm: Algorithm, trained: Trained, last: np.ndarray, most: int) -> np.ndarray:
    """What the algorithm returns after round `last` [R], counted from 0. [M, R, L, S, A]

    M is 1 but for mixtures, of which at most `most` policies, spread evenly, stand for all.
    """
    runs = np.arange(len(last))
    if algorithm.output == "last":
        return normalised(trained.newest[runs, last])[None]
    acting = played(trained)
    if algorithm.output == "acting":
        return acting[runs, last + 1][None]
    rounds = np.arange(trained.loss.shape[1])
    # Where the expert alone walked nothing is known of the policy, and it is no result.
    own = (np.asarray(trained.rows.beta).min(-1) < 1) & (rounds <= last[:, None])  # [R, N]
    if algorithm.output == "best":
        loss = np.where(own, trained.loss, np.inf)[:, ::-1]  # of equals the latest
        return acting[
            runs, np.where(own.any(1), rounds[-1] - ties.first_least(loss, np.asarray(ties.rounding(loss))), last + 1)
        ][None]
    begin = np.where(own.any(1), own.argmax(1), last + 1)
    last = np.maximum(begin, last)
    count = min(most, int((last - begin).min()) + 1)
    places = np.round(np.linspace(begin, last, count)).astype(int)
    return np.stack([acting[runs, place] for place in places])

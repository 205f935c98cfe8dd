"""Any row of the zoo trained on sampled labels in a batch of problems, priced, and judged exactly after every round."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import evidence, exact, interaction, randomness, rollout
from dagger_jax.algorithms import Algorithm
from dagger_jax.learners import Tabular
from dagger_jax.precision import exact as precisely
from dagger_jax.types import Array, Node, Problem, Schedule, World
from experiments.study import Tree


class Trained(NamedTuple):
    """R runs of N rounds. The stack of policies takes R N L S A floats: the rounds asked for bound it."""

    newest: Array  # [R, N, L, S, A] fitted after each round
    acting: Array  # [R, N, L, S, A] the mixture after each round
    rows: Schedule  # [R, N, T] as they were played
    labels: Array  # [R, N] per episode of the round, as all prices
    handovers: Array  # [R, N] hand-overs, or interventions of a gate
    switches: Array  # [R, N] times the expert took or gave the wheel; twice the hand-overs where there is no gate
    expert_steps: Array  # [R, N] steps that the expert acted, its roll-outs included


class Chosen(Node):
    """One of several functions by a number that is data, so that rows of the zoo share one compiled program.

    All of them are called; of labels, rules and gates alike each result is a tree of arrays of the same shapes.
    """

    which: Array  # [] int
    options: tuple[Any, ...]

    def __call__(self, *args: Any) -> Any:
        results = [option(*args) for option in self.options]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[self.which], *results)


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

    Only tables whose rules differ, without controllers; gates on all of them or on none.
    """
    first = each[0]
    if any(type(one.learner) is not Tabular or one.controller is not None for one in each):
        raise ValueError("only tables without controllers can be trained together")

    def choice(place: int, options: Sequence[Any]) -> Any:
        if options[0] is None:
            return None
        alike = {(jax.tree.structure(option), *jax.tree.leaves(option)): option for option in options}
        which = list(alike).index((jax.tree.structure(options[place]), *jax.tree.leaves(options[place])))
        return Chosen(np.asarray(which), tuple(alike.values()))

    rules = [one.learner.rule for one in each]
    return [
        Parts(
            choice(place, [one.label for one in each]),
            first.learner.replace(rule=choice(place, rules)),
            choice(place, [one.gate for one in each]),
            None,
        )
        for place in range(len(each))
    ]


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
    own = parts(algorithm, jax.tree.map(lambda leaf: leaf[0], problems.world), shared)
    schedules = schedule if schedule.beta.ndim == 3 else repeat(schedule, runs)
    return train_batch(repeat(own, runs), problems, samplers, schedules, keys, episodes=episodes)


def repeat(tree: Tree, times: int) -> Tree:
    """The same tree of arrays and numbers for each of a number of runs, on the host."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (times, *np.shape(leaf))), tree)


@functools.partial(jax.jit, static_argnames=("episodes",))
def train_batch(
    each: Parts, problems: Problem, samplers: rollout.Tables, schedules: Schedule, keys: Array, *, episodes: int
) -> Trained:
    """`train` for runs that differ in everything: each argument is a batch of R."""
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(own: Parts, problem: Problem, sampler: rollout.Tables, schedule: Schedule, key: Array) -> Trained:
        def record(moment: interaction.Moment) -> Trained:
            row, mixture = moment.row, moment.acting
            after = (1 - row.rate) * mixture + row.rate * moment.newest
            if own.gate is None:
                asked = evidence.prices(row)
                switches = 2 * asked.handovers
                return Trained(moment.newest, after, row, asked.labels, asked.handovers, switches, asked.steps)
            gated = evidence.gated_prices(moment.play)
            return Trained(moment.newest, after, row, gated.labels, gated.interventions, gated.switches, gated.labels)

        return interaction.run(
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
        ).measured

    return jax.vmap(one)(each, problems, samplers, schedules, keys)


@precisely
def gaps(problems: Problem, policies: Array) -> Array:
    """Exact J(pi) - J(pi*) of policies [R, N, L, S, A] in problems [R]. [R, N]"""

    def one(problem: Problem, policy: Array) -> Array:
        deployed = exact.deploy(problem, policy)
        return deployed.novice_cost - deployed.guide_cost

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(problems, policies)


@precisely
def own_losses(problems: Problem, policies: Array) -> Array:
    """Mean disagreement with the expert under each policy's own law. Shapes as in `gaps`."""

    def one(problem: Problem, policy: Array) -> Array:
        missed = 0.5 * jnp.abs(policy - problem.expert).sum(-1)
        return (exact.deploy(problem, policy).novice * missed).sum() / problem.world.horizon

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(problems, policies)


def output_gaps(algorithm: Algorithm, problems: Problem, trained: Trained) -> np.ndarray:
    """The gap of what the algorithm would return after each round. [R, N]

    "last": the policy just fitted. "acting": the mixture without the expert. "mixture": one of the rounds' policies,
    drawn uniformly and run for the episode. "best": the one of least disagreement on its own states so far, measured
    exactly.
    """
    found = gaps(problems, trained.acting if algorithm.output == "acting" else trained.newest)
    rounds = np.arange(1, found.shape[1] + 1)
    match algorithm.output:
        case "mixture":
            return np.cumsum(found, axis=1) / rounds
        case "best":
            losses = own_losses(problems, trained.newest)
            best = np.array([[run[:n].argmin() for n in rounds] for run in losses])
            return np.take_along_axis(found, best, axis=1)
    return np.asarray(found)

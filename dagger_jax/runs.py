"""One verb for every kind of world: `train`, and what a run is."""

import functools
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Key

from dagger_jax import algorithms, evidence, loop, memory, schedules
from dagger_jax.agents import Policy, Table
from dagger_jax.algorithms import Algorithm
from dagger_jax.control import training as control
from dagger_jax.control.network import Network
from dagger_jax.control.training import Task
from dagger_jax.precision import single
from dagger_jax.randomness import fingerprint, words
from dagger_jax.runtime import runs as disk
from dagger_jax.tabular import interaction, rollout
from dagger_jax.tabular.labels import Reweighed
from dagger_jax.text import training as text
from dagger_jax.text.pairs import Pair, Writing, recipe_for
from dagger_jax.text.writers import Frozen
from dagger_jax.types import Array, Held, Problem, Schedule
from dagger_jax.walk import room


class Progress(NamedTuple):
    """What a run goes on from: complete, a tree of arrays."""

    loop: loop.State
    of: Array  # [] uint32, fingerprint of what must be the same when it goes on: key, world, expert, rows played


class History(NamedTuple):
    """What each round showed. None: not measured in this kind of run."""

    loss: Any  # [N] of the learner on the round's labels: 0-1, or what it is fitted by
    cost: Any  # [N] the novice's total cost, per episode; of text, tokens that differ from the expert's
    labels: Any  # [N] asked, per episode
    handovers: Any  # [N] times the expert was called to a state, per episode
    agreement: Any  # [N, T] share of walkers that have acted alike since the chunk's start


class Run(NamedTuple):
    """What `train` returns: a tree of arrays, one run or, from `vmap`, many."""

    policy: Any  # callable: (observation, step, key) -> action
    schedule: Schedule  # [N, T], as it was played, controllers included
    history: History
    state: Progress
    judged: Schedule  # [T], the row under which its errors are stated

    def save(self, path: str | Path) -> None:
        """Writes the run to a folder; see `load`."""
        disk.save(Path(path), self)


def train(
    algorithm: str | Algorithm | Schedule,
    problem: Problem | Task | Pair,
    *,
    key: Key[Array, ""],
    rounds: int | None = None,
    chunk: int | None = None,
    episodes: int | None = None,
    learner: Any = None,
    controller: Any = None,
    gate: Any = None,
    state: Progress | None = None,
) -> Run:
    """Trains a learner. Pure: jit it, vmap it over keys or schedules; it prints and writes nothing.

    Args:
      algorithm: a name of `ALGORITHMS` or whatever `algorithms.find` reads ("chunk:4", "aimd:auc=0.6", module:name), a
        row of it, or a schedule [N, T].
      problem: tables, a world with a network (`problem`), or text (`text.pair`).
      key: typed, of everything that is drawn.
      rounds: how many to do. None: all that a schedule has left; T where an algorithm trains one step per round.
      chunk: steps, for algorithms with chunks of one length.
      episodes: per round. None: labels in their exact proportions, for tables alone.
      learner: fits the labels. None: the algorithm's own for tables, the pair's for text; other worlds need one, such
        as `learners.network`.
      controller: rewrites the schedule from what rounds show. None: the algorithm's own.
      gate: where the expert takes over. None: the algorithm's own.
      state: `Run.state`, to go on: the same bits as a run without a break.

    Raises:
      ValueError, TypeError: what does not fit together, by name.
    """
    done = 0 if state is None else _done(state)
    row, schedule, rounds = _planned(algorithm, problem, rounds, chunk, done)
    controller, gate = controller or row.controller, gate or row.gate
    if isinstance(problem, Problem):
        go = functools.partial(_tables, problem, row, schedule, learner, episodes)
    else:
        if not isinstance(problem, Task | Pair):
            raise TypeError(f"problem must come from dj.problem or dj.text.pair, got {type(problem).__name__}")
        _only_actions(row)
        if episodes is None:
            raise ValueError("only tables have exact proportions: give episodes=, per round")
        go = functools.partial(_tasks if isinstance(problem, Task) else _texts, problem, schedule, learner, episodes)
    if state is not None:
        at = fingerprint_of(key, problem, schedule, done)
        if not any(isinstance(each, jax.core.Tracer) for each in (at, state.of)) and int(at) != int(state.of):
            raise ValueError(
                "state is of another run: key, world, expert and the rows of the schedule so far must be the same"
            )
    policy, played, history, after = go(controller, gate, key, None if state is None else state.loop, rounds)
    judged = _judged(row, schedule, problem.horizon if isinstance(problem, Pair) else problem.world.horizon, chunk)
    return Run(policy, played, history, Progress(after, fingerprint_of(key, problem, schedule, done + rounds)), judged)


# ---- what is played --------------------------------------------------------------------------------------------------


def _planned(
    algorithm: Any, problem: Any, rounds: int | None, chunk: int | None, done: int
) -> tuple[Algorithm, Schedule, int]:
    """The algorithm's row, its schedule from the first round on, and the rounds to do."""
    horizon = problem.horizon if isinstance(problem, Pair) else problem.world.horizon
    if isinstance(algorithm, Schedule):
        if (steps := algorithm.join.shape[-1]) != horizon:
            raise ValueError(f"the schedule has {steps} steps, the world's horizon is {horizon}")
        if not any(isinstance(column, jax.core.Tracer) for column in algorithm):
            schedules.validate(algorithm)
        left = max(algorithm.join.shape[0] - done, 1) if rounds is None else rounds
        return algorithms.ALGORITHMS["dagger"]._replace(source="a schedule"), algorithm, left
    row = algorithms.find(algorithm) if isinstance(algorithm, str) else algorithm
    name = algorithm if isinstance(algorithm, str) else "this algorithm"
    if row.chunked and chunk is None:
        raise ValueError(f"{name} needs chunk=, its length in steps")
    if row.per_step and rounds is None:
        rounds = horizon - done
    if row.per_step and done + (rounds or 0) != horizon:
        raise ValueError(f"{name} trains one step per round: rounds must come to the horizon {horizon}")
    if rounds is None or rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if row.output in ("mixture", "best"):
        raise ValueError(
            f"the result of {name} is one of all its rounds' policies: wrap a learner in learners.Iterates, or see "
            "the zoo; dj.train knows the newest policy, and mixtures that act"
        )
    return row, algorithms.built(name, row, done + rounds, horizon, chunk or 1), rounds


def _judged(row: Algorithm, schedule: Schedule, horizon: int, chunk: int | None) -> Schedule:
    """The row that a theorem on the result speaks of; of a schedule its last one, without the expert's part."""
    if row.source != "a schedule":
        return schedules.row(row.judged_by(horizon, chunk or 1), 0)
    last = schedules.row(schedule, -1)
    return last if last.beta is None else last._replace(beta=jnp.zeros_like(last.join))


def _only_actions(row: Algorithm) -> None:
    plain = algorithms.ALGORITHMS["dagger"]
    if row.label is not plain.label:
        raise ValueError("labels of costs-to-go, and reweighed ones, are made where worlds are tables")
    if row.gate is not None:
        raise ValueError("this algorithm's gate reads tables: give gate=, a `protocols.Gate`, with a plain algorithm")
    if row.output == "acting":
        raise ValueError("policies are mixed where they are tables: this algorithm's result is a mixture")


def _done(state: Progress) -> int:
    if isinstance(state.loop.round, jax.core.Tracer):
        raise TypeError("state must be concrete: how many rounds are done decides on the schedule's shape")
    return int(np.ravel(state.loop.round)[0])


def fingerprint_of(key: Array, problem: Any, schedule: Schedule, rounds: int) -> Array:
    """Of what must be the same when a run goes on after so many rounds. [] uint32"""
    held = Held.of(problem)
    static = jnp.uint32(zlib.crc32(repr(held.others).encode()))
    return _fingerprint((key, held.arrays, static, jax.tree.map(lambda column: column[:rounds], schedule)))


_fingerprint = jax.jit(fingerprint)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _tables(
    problem: Problem, row: Algorithm, schedule: Schedule, learner: Any, episodes: int | None,
    controller: Any, gate: Any, key: Array, state: loop.State | None, rounds: int,
) -> Any:  # fmt: skip
    learner = row.learner(problem.world, False) if learner is None else learner
    world, ids = (None, None) if episodes is None else (rollout.tables(problem), _ids(episodes))
    alone = controller is None and not control.needs_guide(schedule) and not isinstance(row.label, Reweighed)
    how = {"rounds": rounds, "alone": alone}
    play = _play_tables if episodes is None else single(_play_tables)
    table, *found = play(
        problem, world, schedule, learner, controller, gate, Partial(row.label), state, key, ids, **how
    )
    seen = np.unique(np.asarray(problem.world.observation), return_index=True)
    states = np.zeros(problem.world.observations, np.int32)
    states[seen[0]] = seen[1]
    return Table(table, jnp.asarray(states)), *found


@functools.partial(jax.jit, static_argnames=("rounds", "alone"))
def _play_tables(
    problem: Problem, world: Any, schedule: Schedule, learner: Any, controller: Any, gate: Any, label: Any,
    state: loop.State | None, key: Array, ids: Array | None, *, rounds: int, alone: bool,
) -> Any:  # fmt: skip
    count: Array | float = jnp.inf if ids is None else float(ids.shape[0])
    plays = interaction.exactly(problem) if ids is None else interaction.by_sampling(world, words(key), ids, alone)
    how = {"label": label, "controller": controller, "gate": gate, "episodes": count}
    parts = interaction.parts(problem, learner, plays, **how)

    def measure(at: loop.Moment) -> Any:
        asked = at.batch.weight.sum()
        missed = (at.batch.costs * at.agent).sum() / jnp.maximum(asked, 1e-9)
        called = evidence.prices(at.row).handovers if at.shown.entered is None else at.shown.entered.sum()
        cost = interaction.cost(problem, at.row, at.shown, at.agent)
        return at.row, History(missed, cost, asked, called, at.shown.agreement)

    begins, draws = jax.random.split(key)
    if state is None:
        makes = {"gate": parts.gate, "controller": parts.controller}
        state = loop.begin(parts.learner, begins, problem.world.horizon, **makes)
    state, (rows, history) = loop.advance(parts, schedule, state, rounds=rounds, key=draws, measure=measure)
    return state.learner.acting, rows, history, state


def _ids(episodes: int) -> Array:
    if not 1 <= episodes <= 2**32:
        raise ValueError(f"episodes must be at least 1 per round, and at most 2^32, got {episodes}")
    memory.require(f"episodes={episodes}", room(episodes), on_device=True)
    return jnp.arange(episodes, dtype=jnp.uint32)


# ---- worlds with networks --------------------------------------------------------------------------------------------


def _tasks(
    task: Task, schedule: Schedule, learner: Any, episodes: int,
    controller: Any, gate: Any, key: Array, state: loop.State | None, rounds: int,
) -> Any:  # fmt: skip
    if learner is None:
        raise ValueError("this world needs a learner: learner=dj.learners.network(module, optimiser, head=...)")
    bound = learner.on(task.world, task.expert) if isinstance(learner, Network) else learner
    who = control.asked(schedule), control.needs_guide(schedule)
    how = {"rounds": rounds, "who": who}
    control.refuse(schedule)
    held = Held.of((task, bound, controller, gate))
    return single(_play_tasks)(held, schedule, state, key, _ids(episodes), **how)


@functools.partial(jax.jit, static_argnames=("rounds", "who"))
def _play_tasks(
    held: Held, schedule: Schedule, state: loop.State | None, key: Array, ids: Array, *, rounds: int, who: Any
) -> Any:
    task, learner, controller, gate = held.tree
    parts = control.parts(task, learner, words(key), ids, who=who, controller=controller, gate=gate)

    def measure(at: loop.Moment) -> Any:
        asked = at.batch.weight.sum() / ids.shape[0]
        called = evidence.prices(at.row).handovers
        agreement = None if at.shown.together is None else at.shown.together.mean(1)
        return at.row, History(at.info, at.shown.ends.novice_cost.mean(), asked, called, agreement)

    begins, draws = jax.random.split(key)
    if state is None:
        state = loop.begin(learner, begins, task.world.horizon, gate=gate, controller=controller)
    state, (rows, history) = loop.advance(parts, schedule, state, rounds=rounds, key=draws, measure=measure)
    return Policy(learner.agent(state.learner, schedules.row(schedule, -1))), rows, history, state


# ---- text ------------------------------------------------------------------------------------------------------------


def _texts(
    pair: Pair, schedule: Schedule, learner: Any, episodes: int,
    controller: Any, gate: Any, key: Array, state: loop.State | None, rounds: int,
) -> Any:  # fmt: skip
    if gate is not None:
        raise ValueError("gates are for tables and worlds of states: a text has none")
    recipe = recipe_for(pair if learner is None else pair.replace(recipe=learner), schedule)
    how = {"recipe": recipe, "rounds": rounds}
    return single(_play_texts)(pair.expert, schedule, controller, state, key, _ids(episodes), **how)


@functools.partial(jax.jit, static_argnames=("recipe", "rounds"))
def _play_texts(
    expert: Any, schedule: Schedule, controller: Any, state: loop.State | None, key: Array, ids: Array, *,
    recipe: text.Recipe, rounds: int,
) -> Any:  # fmt: skip
    begins, _ = jax.random.split(key)
    start = text.begin(recipe, begins, controller) if state is None else state

    def measure(at: text.Moment) -> Any:
        called = evidence.prices(at.row).handovers
        wrong, labels = at.text.wrong.sum(0).mean(), at.labels / ids.shape[0]
        return at.row, History(at.loss, wrong, labels, called, at.text.together.mean(1))

    how = {"rounds": rounds, "controller": controller, "measure": measure}
    end, (rows, history) = text.advance(recipe, expert, schedule, start, words(key), ids, **how)
    return Writing(Frozen(recipe.config, end.learner.params)), rows, history, end

"""What experiments on tabular worlds share: problems by name, learners trained and judged, series of points."""

import functools
import sys
import warnings
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from dagger_jax import algorithms, bounds, evidence, growth, names, problems, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import files, gallery, interaction, known_dynamics, learners, rollout
from dagger_jax.tabular.experts import optimal
from dagger_jax.tabular.known_dynamics import Demonstrations
from dagger_jax.types import Array, Problem, Schedule, Trace, World

from ..claim import BadFlag, Need, devices, inputs

WORLDS_HELP = (
    "Worlds to measure in. A file holds arrays transition [S,A,S] or [T,S,A,S], cost [S,A] or [T,S,A] in "
    "[0,1], initial [S], and perhaps observation [S]; its expert is the optimal policy. Its path may hold commas; a ~ "
    "begins with a user's folder. Where states have few successors, indptr [SA+1], indices and data stand in "
    "transition's place: a sparse matrix [SA,S] in CSR form. A file is known by what it holds, not by its name. "
    "module:name is called as make(horizon=...) and returns a problem, or a world whose expert is the optimal policy."
)
# Rare states, drawn anew for every run where learners are fitted.
RESET_CLIFFS = ("recoverable_reset_cliff", "reset_cliff", "stationary_reset_cliff")
COPIES = 6  # of transitions in float64: as given, normalised, by JAX, in backward induction, as alias tables


Tree = TypeVar("Tree")


class Series(NamedTuple):
    """What is followed over the horizons: one line of a figure."""

    world: str
    learner: str
    algorithm: str
    chunk: int | None
    eps: float | None

    def title(self) -> str:
        """The algorithm's name in a legend."""
        names = {"behavioural_cloning": "behavioural cloning", "dagger": "DAgger"}
        name = names.get(self.algorithm, self.algorithm.replace("_", " "))
        return name if self.chunk is None else f"{name}, k = {self.chunk}"

    def learner_title(self) -> str:
        """The learner's name in a heading."""
        return self.learner.replace("_", " ") + ("" if self.eps is None else f", ε = {self.eps:g}")


class Judged(NamedTuple):
    """What is exactly known of a policy under a row; leading axes of the batch, if any."""

    gap: Array
    bounds: dict[str, Array]  # every bound on one learner under one row, by its name in `bounds.BOUNDS`
    training_error: Array  # average over steps, under the training law
    own_error: Array  # average over steps, under the learner's own law


# ---- problems -----------------------------------------------------------------------------------------------


def is_own(world: str) -> bool:
    """Whether a world is a user's: from a file or a module, and known by its key in `inputs`."""
    return inputs.is_key(world)


def shown(world: str) -> str:
    """A world's name for readers: the gallery's, or the file's without its suffix."""
    return inputs.named(world).removesuffix(".npz")


def problem(world: str, horizon: int, **sizes: Any) -> Problem:
    """A world of the gallery, or of a file or a module that a flag named, with its expert."""
    if names.is_own(world):
        return problems.problem(world, horizon=horizon).replace(called=world)
    if is_own(world):
        with warnings.catch_warnings(action="ignore"):  # `check_worlds` has told
            loaded = _load(world, horizon)
        return Problem(loaded, optimal(loaded), shown(world))
    return gallery.WORLDS[world].build(horizon, **sizes)


def _load(world: str, horizon: int) -> World:
    known = inputs.get(world)
    return files.load(known.name, horizon, data=known.content)


def check_worlds(worlds: tuple[str, ...], horizons: tuple[int, ...]) -> None:
    """Raises BadFlag where a user's world cannot be had at these horizons; tells what it had to change."""
    for world in filter(is_own, worlds):
        try:
            with warnings.catch_warnings(record=True, action="always") as changed:
                if names.is_own(world):
                    for horizon in horizons:
                        problem(world, horizon)
                else:
                    _load(world, max(horizons))
        except ValueError as error:
            raise BadFlag("worlds", str(error)) from error
        for each in changed:
            print(f"warning: {each.message}", file=sys.stderr, flush=True)


def sizes(world: str, horizon: int) -> files.Sizes:
    """Of a world's transitions, without building a file's; zeros for a user's that cannot be had."""
    if names.is_own(world):
        try:
            return files.sizes_of(problem(world, horizon).world)
        except ValueError:  # `check_worlds` says why
            return files.Sizes(0, 0, 0, 0)
    if is_own(world):
        known = inputs.get(world)
        try:
            return files.sizes(known.name, known.content)
        except ValueError:  # `check_worlds` says why
            return files.Sizes(0, 0, 0, 0)
    small = min(horizon, 4)
    built = gallery.WORLDS[world].build(small).world
    steps, states, actions, _ = files.sizes_of(built)
    grown = gallery.WORLDS[world].states
    states = grown(horizon) if grown else states
    return files.Sizes(horizon if steps > 1 else 1, states, actions, states)


def memory(worlds: tuple[str, ...], horizon: int, copies: int = 1) -> Need:
    """What the largest of the worlds takes, so many `copies` of it: transitions, and a few tables a step."""
    each = (sizes(world, horizon) for world in worlds)
    size = max((8 * S * A * (COPIES * L * width + 10 * horizon) for L, S, A, width in each), default=0)
    return Need(f"{copies:,} worlds" if copies > 1 else "a world", size * copies)


def check_algorithms(found: tuple[str, ...], horizons: tuple[int, ...], rounds: int) -> None:
    """Raises BadFlag where a user's algorithm has no schedule of so many rounds, or nothing to be judged by."""
    for name in filter(names.is_own, found):
        row = algorithms.find(name)
        try:
            for horizon in horizons:
                algorithms.built(name, row, horizon if row.per_step else rounds, horizon, min(4, horizon))
                schedules.validate(row.judged_by(horizon, min(4, horizon)))
        except ValueError as error:
            raise BadFlag("algorithms", str(error)) from error


def check_chunks(chunks: tuple[int, ...], horizons: tuple[int, ...]) -> None:
    """Raises BadFlag where a chunk is longer than a horizon."""
    if max(chunks) > (shortest := min(horizons)):
        raise BadFlag("chunks", f"{max(chunks)} is longer than the horizon {shortest}; allowed: 1 to {shortest}")


def stacked(trees: Sequence[Tree]) -> Tree:
    """Problems, samplers or other trees of equal shape as one batch: a new leading axis, on the host.

    The number of steps of padded worlds, which must be the same in all, stays one.
    """
    put = lambda path, *leaves: leaves[0] if _is_length(path) else np.stack(leaves)
    return jax.tree_util.tree_map_with_path(put, *trees)


def over(batch: Any) -> Any:
    """The axes of a batch from `stacked`, for `vmap`."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: None if _is_length(path) else 0, batch)


def chosen(batch: Tree, places: Any) -> Tree:
    """Some of a batch from `stacked`: an array of their places, or one's place."""
    pick = lambda path, leaf: leaf if _is_length(path) else np.asarray(leaf)[places]
    return jax.tree_util.tree_map_with_path(pick, batch)


def _is_length(path: tuple[Any, ...]) -> bool:
    return getattr(path[-1] if path else None, "name", None) == "length"


# ---- learners -----------------------------------------------------------------------------------------------


@functools.partial(devices.jit, static_argnames=("episodes", "shared", "alone"))
def train(
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    keys: Array,
    rule: learners.Rule,
    rounds: Array | None = None,
    *,
    episodes: int,
    shared: bool,
    alone: bool,
) -> Array:
    """Policies [R, L, S, A] fitted to sampled labels, one a run.

    Args:
      problems: a batch of R.
      samplers: theirs, from `rollout.tables`.
      schedule: [N, T], the same for all.
      keys: [R].
      rule: of the tabular learner.
      rounds: [] int, how many of the N are done; None: all.
      episodes: a round.
      shared: one table for all steps.
      alone: the novice walks alone; only where no guide is labelled.
    """
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(problem: Problem, sampler: rollout.Tables, key: Array) -> Array:
        learner = learners.tabular(problem.world, rule, shared)
        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids, alone=alone, labelled=True)
        return interaction.run(problem, schedule, learner, interpreter, rounds=rounds).newest

    each = lambda *batch: jax.vmap(one, (over(problems), over(samplers), 0))(*batch)
    return devices.over_devices(each)(problems, samplers, keys)


def _judge(problem: Problem, policy: Array, row: Schedule, *, names: tuple[str, ...]) -> Judged:
    known = evidence.constants(problem)
    seen = evidence.measure(problem, policy, row, known)
    values = {name: bounds.BOUNDS[name].value(row, seen, known) for name in names}
    return Judged(seen.gap, values, seen.eps.sum() / seen.steps, seen.eta.sum() / seen.steps)


def _judge_batch(problems: Problem, policies: Array, row: Schedule, *, names: tuple[str, ...]) -> Judged:
    one = functools.partial(_judge, names=names)
    return jax.vmap(one, (over(problems), 0, None))(problems, policies, row)


_judged, _judged_batch = float64(_judge, static=("names",)), float64(_judge_batch, static=("names",))


def judge(problem: Problem, policy: Array, row: Schedule, *, batch: bool = False) -> Judged:
    """The exact judgement of a policy under a row; with `batch`, problems and policies have a leading axis."""
    names = tuple(bounds.of_rows())
    return _judged_batch(problem, policy, row, names=names) if batch else _judged(problem, policy, row, names=names)


@functools.partial(devices.jit, static_argnames=("episodes",))
def _traces(problems: Problem, samplers: rollout.Tables, keys: Array, *, episodes: int) -> Trace:
    def one(problem: Problem, sampler: rollout.Tables, key: Array) -> Trace:
        row = schedules.row(schedules.behavioural_cloning(1, problem.world.horizon), 0)
        first = randomness.for_round(randomness.words(key), 0)
        return rollout.trace(sampler, problem.expert, row, first, jnp.arange(episodes, dtype=jnp.uint32))

    return jax.vmap(one, (over(problems), over(samplers), 0))(problems, samplers, keys)


def demonstrations(problems: Problem, samplers: rollout.Tables, keys: Array, episodes: int) -> list[Demonstrations]:
    """The expert's own runs in each of a batch of problems [R]."""
    traces = jax.device_get(_traces(problems, samplers, keys, episodes=episodes))
    each = lambda r: jax.tree.map(lambda leaf: leaf[r, : int(problems.world.steps)], traces)
    return [known_dynamics.demonstrations(each(r)) for r in range(keys.shape[0])]


class Sampled(NamedTuple):
    """A gap by roll-out, learner and expert coupled from the start of each episode."""

    gap: float
    stderr: float
    parted: int  # episodes in which they acted differently


@devices.jit
def _play(sampler: rollout.Tables, policy: Array, row: Schedule, key: randomness.Words, ids: Array) -> rollout.Episodes:
    return devices.over_devices(lambda ids: rollout.play(sampler, policy, row, key, ids)[1])(ids)


def sample_gap(problem: Problem, policy: Array, seed: int, stream: str, episodes: int) -> Sampled:
    """The gap of a policy, estimated over a number of episodes; another `stream`, other random numbers."""
    horizon = problem.world.horizon
    row = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    key = randomness.for_round(randomness.words(jax.random.key(seed)), zlib.crc32(stream.encode()))
    ids = jnp.arange(episodes, dtype=jnp.uint32)
    seen = _play(rollout.tables(problem), policy, row, key, ids)
    difference = np.asarray(seen.novice_cost, float) - np.asarray(seen.guide_cost, float)
    parted = int((np.asarray(seen.parted) < problem.world.steps).sum())
    return Sampled(difference.mean(), difference.std(ddof=1) / np.sqrt(episodes), parted)


# ---- points -------------------------------------------------------------------------------------------------

Rows = list[dict[str, Any]]


def by_series(table: pa.Table) -> dict[Series, Rows]:
    """The rows of each series, in their order."""
    rows: dict[Series, Rows] = {}
    for row in table.to_pylist():
        rows.setdefault(Series(*(row[name] for name in Series._fields)), []).append(row)
    return rows


def gaps(rows: Rows, interpreter: str = "exact") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Horizons [M], gaps [R, M] (a row a run) and mean training errors [M] of a series."""
    rows = [row for row in rows if row["interpreter"] == interpreter]
    horizons = np.unique([row["horizon"] for row in rows])
    columns = [[row for row in rows if row["horizon"] == horizon] for horizon in horizons]
    values = np.array([[row["gap"] for row in column] for column in columns]).T
    errors = np.array([np.mean([row["training_error"] or 0.0 for row in column]) for column in columns])
    return horizons, values, errors


def fit(rows: Rows) -> growth.Growth | None:
    """The growth law of a series, or None where its points cannot tell (too few, saturated, or no gap)."""
    horizons, values, errors = gaps(rows)
    try:
        return growth.fit(horizons, values, saturation=horizons * errors)
    except ValueError:
        return None

"""A row of the registry of algorithms: which schedule, which learner, which theorem."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from dagger_jax import schedules
from dagger_jax.controllers import Controller
from dagger_jax.tabular import learners
from dagger_jax.tabular.gates import Gate
from dagger_jax.tabular.labels import Label, imitate
from dagger_jax.tabular.learners import Learner
from dagger_jax.types import Schedule, World

Output = Literal["last", "acting", "mixture", "best"]


def _every_step(horizon: int, chunk: int) -> Schedule:
    return schedules.chunked(1, schedules.starts(horizon, 1))


def leader(world: World, shared: bool) -> learners.Tabular:
    """Follow the leader in a table: what most labels said."""
    return learners.tabular(world, learners.Majority(), shared)


class Algorithm(NamedTuple):
    """A row of the registry. `source` and `build` have no default: the rest is DAgger's."""

    build: Callable[[int, int, int], Schedule]  # (rounds, horizon, chunk length) -> [N, T]
    source: str
    judged_by: Callable[[int, int], Schedule] = _every_step  # (horizon, chunk) -> [1, T]: what its theorem is about
    bound: str = "u T eta"  # key of `bounds.BOUNDS`: about one policy under the row that judges it
    theorem: str = ""  # key of `bounds.BOUNDS`: its own about more than one policy under one row, where there is one
    kind: str = "chunks"  # of row: "cloning", "chunks" or "reset"
    chunked: bool = False  # does the chunk length matter?
    per_step: bool = False  # does it need one policy a step, and as many rounds as steps?
    label: Label = imitate
    learner: Callable[[World, bool], Learner] = leader  # (world, one table for all steps?) -> as published, in a table
    gate: Gate | None = None
    controller: Controller | None = None
    # Which policy is the result: the newest; the mixture without the expert; one of the rounds' own, drawn for an
    # episode; the one of them with the least loss in the round that it played, before it was fitted to it.
    output: Output = "last"
    strategy: bool = False  # a roll-out strategy: a table over rounds, without a theorem of its own
    # (rounds, horizon) -> [N, T], where one label per episode is asked for: the table that as many labels buy.
    sparse: Callable[[int, int], Schedule] | None = None
    title: str = ""  # as its authors write it, where that is not the name with spaces


def cloning(rounds: int, horizon: int, chunk: int) -> Schedule:
    """Behavioural cloning's table, as a row builds it."""
    return schedules.behavioural_cloning(rounds, horizon)


def dagger(rounds: int, horizon: int, chunk: int) -> Schedule:
    """DAgger's table, as a row builds it."""
    return schedules.dagger(rounds, horizon)

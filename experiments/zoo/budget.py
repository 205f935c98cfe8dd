"""How each algorithm of the zoo spends the label budget, and which of them share a program."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dagger_jax.algorithms import ALGORITHMS, Algorithm
from dagger_jax.controllers import FittedNoise
from dagger_jax.tabular import learners
from dagger_jax.types import Schedule

from ..shared import training
from ..shared.training import Parts
from .known import PRIOR
from .worlds import Sizes

ROUNDS = 16  # in which the budget is spent
PATIENT = 4  # times as many for gates, which ask less a round
CHUNKS = 4  # of an episode, in chunked DAgger and in the reset variant


class Spending(NamedTuple):
    """The same number of labels for everybody: T for each demonstration that behavioural cloning would buy."""

    schedule: Schedule  # [N, T]
    episodes: int  # a round


def spending(name: str, horizon: int, demonstrations: int) -> Spending:
    """How an algorithm spends the labels of a number of demonstrations."""
    algorithm, chunk = ALGORITHMS[name], max(1, horizon // CHUNKS)
    each = demonstrations // ROUNDS
    if algorithm.per_step:
        return Spending(algorithm.build(horizon, horizon, chunk), demonstrations)
    if algorithm.sparse:
        return Spending(algorithm.sparse(demonstrations * horizon // (4 * each), horizon), 4 * each)
    return Spending(algorithm.build(ROUNDS * (PATIENT if algorithm.gate else 1), horizon, chunk), each)


def families(names: Sequence[str]) -> list[list[str]]:
    """Algorithms that one compiled program trains: as many rounds and episodes, gates on all of them or on none."""
    kinds: dict[Any, list[str]] = {}
    for name in names:
        algorithm = ALGORITHMS[name]
        kind = algorithm.gate is None, algorithm.per_step, algorithm.sparse is not None
        alone = not isinstance(algorithm.controller, FittedNoise | None)
        kinds.setdefault(name if alone else kind, []).append(name)
    return list(kinds.values())


def prepared(algorithm: Algorithm, world: Any, room: Sizes, episodes: int) -> Parts:
    """An algorithm's parts in a world that was padded from `room`, its table beginning with a prior of one label.

    Otherwise a world whose expert takes the first action everywhere would leave no gap to anybody.
    """
    own = training.parts(algorithm, world, room.shared)
    learner = own.learner

    def begun(table: learners.Tabular) -> learners.Tabular:
        return table.replace(rule=learners.Smoothed(table.rule, PRIOR / episodes))

    if isinstance(learner, learners.Tabular):
        return own._replace(learner=begun(learner))
    if isinstance(learner, learners.Ensemble):
        drawn = learners.Sizes(world.steps, *(np.int32(size) for size in (room.states, room.observations)))
        return own._replace(learner=learner.replace(member=begun(learner.member), sizes=drawn))
    return own._replace(learner=learners.Cautious(learner, PRIOR / episodes))

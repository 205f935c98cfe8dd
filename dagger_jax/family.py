"""One schedule of every kind: rows on which interpreters, learners and devices are tried.

The rows of `algorithms.ALGORITHMS`, and rows that no algorithm has, among them one with every column in use.
"""

from collections.abc import Mapping

import numpy as np

from dagger_jax import schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.types import Schedule


def distinct(found: Mapping[str, Schedule]) -> dict[str, Schedule]:
    """The schedules without those that an earlier name has already: algorithms may differ in label or gate alone."""
    kept: dict[tuple[bytes, ...], str] = {}
    for name, schedule in found.items():
        columns = (column for column in schedules.filled(schedule) if column is not None)
        kept.setdefault(tuple(np.asarray(column).tobytes() for column in columns), name)
    return {name: found[name] for name in kept.values()}


def family(rounds: int, horizon: int, seed: int = 0) -> dict[str, Schedule]:
    """Schedules [N, T] by name, no two alike.

    Args:
      rounds: N; forward training and Stagger need N = T for their rows to be whole.
      horizon: T, at least 5 steps.
      seed: of the rows with random columns.
    """
    rng, first = np.random.default_rng(seed), np.eye(horizon)[0]
    shape = rounds, horizon
    return distinct({name: row.build(rounds, horizon, 3) for name, row in ALGORITHMS.items()}) | {
        "dagger, geometric beta": schedules.dagger(*shape, schedules.beta_geometric(rounds, 0.7)),
        "dagger, linear beta": schedules.dagger(*shape, schedules.beta_linear(rounds, 4)),
        "dagger, constant beta": schedules.dagger(*shape, schedules.beta_constant(rounds, 0.3)),
        "dagger, any beta": schedules.dagger(*shape, rng.random(rounds)),
        "dagger, beta 0": schedules.dagger(*shape, np.zeros(rounds)),
        "chunks of 1": schedules.chunked(rounds, schedules.starts(horizon, 1)),
        "chunks of T": schedules.chunked(rounds, schedules.starts(horizon, horizon)),
        "chunks of geometric length": schedules.chunked(rounds, schedules.geometric(horizon, 2.5)),
        "chunks of other lengths": schedules.chunked(rounds, schedules.partition(horizon, [1, 3, horizon - 4])),
        "chunks of their own every round": schedules.chunked(rounds, np.maximum(rng.random(shape) < 0.4, first)),
        "resets by coin": schedules.reset(rounds, schedules.geometric(horizon, 2.0)),
        "noise": schedules.table(*shape, join=first, noise=0.4, label_guide=1.0),
        "everything": schedules.table(
            *shape,
            join=np.maximum(np.resize([0, 0.3, 0, 0.6, 0, 0], horizon), first),
            back=np.resize([0, 0, 0.5, 0, 0, 0.7], horizon),
            beta=rng.random(shape),
            noise=rng.random(shape),
            label_guide=rng.random(shape),
            label_novice=2 * rng.random(shape),
            mixing_rate=rng.random(rounds),
            retain=0.5 + rng.random(rounds) / 2,
        ),
    }

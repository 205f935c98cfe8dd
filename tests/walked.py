"""What the tests of the one walk share: rows of every kind, and a walk of which all is kept."""

import jax
import numpy as np

from dagger_jax import randomness, schedules
from dagger_jax.walk import Whole, walk

KEY = randomness.for_round(randomness.words(jax.random.key(2)), 0)
IDS = np.arange(500, dtype=np.uint32)
T = 8
COINS = np.random.default_rng(3).uniform(0, 0.6, (3, T)) * (np.arange(T) > 0)
ROWS = {
    "cloning": schedules.behavioural_cloning(1, T),
    "chunks": schedules.chunked(1, schedules.starts(T, 3)),
    "dagger": schedules.dagger(1, T, np.array([0.4])),
    "excursions": schedules.reset(1, schedules.starts(T, 3)),
    "coins": schedules.table(
        1, T, join=np.where(np.arange(T) % 2, 0, COINS[0]) + np.eye(T)[0], back=COINS[1] * (np.arange(T) % 2), beta=0.3
    ),
    "noise": schedules.chunked(1, schedules.starts(T, 4))._replace(noise=COINS[2:]),
}
CHUNKS = schedules.row(ROWS["chunks"], 0)


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def played(world, expert, learner, row, ids=IDS, **options):
    """(Step, Walkers) of the whole, compiled."""
    one = lambda world, expert, learner, row: walk(world, expert, learner, row, KEY, ids, reduce=Whole(), **options)
    return jax.jit(one)(world, expert, learner, row)

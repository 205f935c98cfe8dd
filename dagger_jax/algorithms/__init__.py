"""The algorithms, one registry: which schedule, which learner, which theorem.

An algorithm is data: its schedule's columns. `build(rounds, horizon, chunk)` makes it; everything else in a row says
what it is trained with, how its result is read, and what an experiment has to know of it. Roll-out strategies are rows
as well. A text names a row, a schedule over rounds, or a user's own: see `find`.
"""

from dagger_jax.algorithms.language import ALGORITHMS, built, find, schedule
from dagger_jax.algorithms.row import Algorithm, Output

__all__ = ["ALGORITHMS", "Algorithm", "Output", "built", "find", "schedule"]

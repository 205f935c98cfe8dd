"""dagger_jax: roll-out schedules of imitation learning, exact regret, and every theorem held against it."""

from dagger_jax import (
    algorithms,
    bounds,
    controllers,
    detect,
    evidence,
    exact,
    experts,
    gates,
    growth,
    interaction,
    labels,
    learners,
    oracle,
    planning,
    randomness,
    rollout,
    schedules,
    strategies,
)
from dagger_jax.algorithms import ALGORITHMS, schedule
from dagger_jax.bounds import BOUNDS
from dagger_jax.environments import gallery, tabular
from dagger_jax.environments.gallery import WORLDS
from dagger_jax.problems import problem
from dagger_jax.types import Batch, Play, Problem, Schedule, World

__all__ = [
    "ALGORITHMS",
    "BOUNDS",
    "WORLDS",
    "Batch",
    "Play",
    "Problem",
    "Schedule",
    "World",
    "algorithms",
    "bounds",
    "controllers",
    "detect",
    "evidence",
    "exact",
    "experts",
    "gallery",
    "gates",
    "growth",
    "interaction",
    "labels",
    "learners",
    "oracle",
    "planning",
    "problem",
    "randomness",
    "rollout",
    "schedule",
    "schedules",
    "strategies",
    "tabular",
]

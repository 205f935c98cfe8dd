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
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.environments import gallery, tabular
from dagger_jax.environments.gallery import GALLERY
from dagger_jax.types import Batch, Play, Problem, Schedule, World

__all__ = [
    "ALGORITHMS",
    "GALLERY",
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
    "randomness",
    "rollout",
    "schedules",
    "strategies",
    "tabular",
]

"""dagger_jax: roll-out schedules of imitation learning, exact regret, and every theorem held against it."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger_jax import algorithms, bounds, controllers, detect, evidence, growth, randomness, schedules, strategies
    from dagger_jax.algorithms import ALGORITHMS, schedule
    from dagger_jax.bounds import BOUNDS
    from dagger_jax.problems import problem
    from dagger_jax.tabular import (
        exact,
        experts,
        gallery,
        gates,
        interaction,
        labels,
        learners,
        oracle,
        planning,
        rollout,
    )
    from dagger_jax.tabular import worlds as tabular
    from dagger_jax.tabular.gallery import WORLDS
    from dagger_jax.types import Batch, Play, Problem, Schedule, World

__version__ = "0.1.0"
# Where the names are that are no modules of their own directly below.
_HOMES = {
    "BOUNDS": "bounds",
    "WORLDS": "tabular.gallery",
    "problem": "problems",
    **dict.fromkeys(("ALGORITHMS", "schedule"), "algorithms"),
    **dict.fromkeys(("Batch", "Play", "Problem", "Schedule", "World"), "types"),
    **{
        name: f"tabular.{name}"
        for name in (
            "exact",
            "experts",
            "gallery",
            "gates",
            "interaction",
            "labels",
            "learners",
            "oracle",
            "planning",
            "rollout",
        )
    },
}

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


def __getattr__(name: str) -> Any:
    """Imports what is asked for, so that `import dagger_jax` alone loads nothing large."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    globals()[name] = getattr(home, name, home) if name in _HOMES else home
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

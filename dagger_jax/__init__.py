"""dagger_jax: roll-out schedules of imitation learning, exact regret, and every theorem checked against it."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger_jax import (
        agents,
        algorithms,
        bounds,
        control,
        controllers,
        detect,
        evidence,
        growth,
        laws,
        learners,
        protocols,
        randomness,
        schedules,
        tabular,
        text,
    )
    from dagger_jax.algorithms import ALGORITHMS, schedule
    from dagger_jax.bounds import BOUNDS
    from dagger_jax.evaluation import Result, evaluate
    from dagger_jax.problems import problem
    from dagger_jax.runs import Run, train
    from dagger_jax.runtime.runs import load
    from dagger_jax.tabular import exact, experts, gallery, gates, interaction, labels, oracle, planning, rollout
    from dagger_jax.tabular.gallery import WORLDS
    from dagger_jax.types import Batch, Occupancy, Problem, Schedule, World

__version__ = "0.1.0"
_TABULAR = ("exact", "experts", "gallery", "gates", "interaction", "labels", "oracle", "planning", "rollout")
# Where the names are that are no modules of their own directly below.
_HOMES = {
    "BOUNDS": "bounds",
    "WORLDS": "tabular.gallery",
    "load": "runtime.runs",
    "problem": "problems",
    **dict.fromkeys(("ALGORITHMS", "schedule"), "algorithms"),
    **dict.fromkeys(("Result", "evaluate"), "evaluation"),
    **dict.fromkeys(("Run", "train"), "runs"),
    **dict.fromkeys(("Batch", "Occupancy", "Problem", "Schedule", "World"), "types"),
    **{name: f"tabular.{name}" for name in _TABULAR},
}

__all__ = [
    "ALGORITHMS",
    "BOUNDS",
    "WORLDS",
    "Batch",
    "Occupancy",
    "Problem",
    "Result",
    "Run",
    "Schedule",
    "World",
    "agents",
    "algorithms",
    "bounds",
    "control",
    "controllers",
    "detect",
    "evaluate",
    "evidence",
    "exact",
    "experts",
    "gallery",
    "gates",
    "growth",
    "interaction",
    "labels",
    "laws",
    "learners",
    "load",
    "oracle",
    "planning",
    "problem",
    "protocols",
    "randomness",
    "rollout",
    "schedule",
    "schedules",
    "tabular",
    "text",
    "train",
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

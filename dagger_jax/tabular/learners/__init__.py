"""Learners of tabular worlds. None grows with the rounds: tables of label costs, or a current policy.

A learner is four functions: `init(key)`, `update(key, memory, batch, keep)`, `params(memory)` and
`policy(params, world)`. A rule says how a row of costs becomes a law over actions.
"""

from typing import Any, Protocol

from dagger_jax.tabular.learners.iterates import Iterates, Stack
from dagger_jax.tabular.learners.online import Cautious, Counted, Descent, Iterate, PolicyGradient
from dagger_jax.tabular.learners.rules import Hedge, LogLoss, Majority, RegularisedLeader, Rule, Smoothed, project
from dagger_jax.tabular.learners.tables import Ensemble, EnsembleMemory, Memory, Sizes, Tabular, tabular
from dagger_jax.types import Array, Batch, World

__all__ = [
    "Cautious",
    "Counted",
    "Descent",
    "Ensemble",
    "EnsembleMemory",
    "Hedge",
    "Iterate",
    "Iterates",
    "Learner",
    "LogLoss",
    "Majority",
    "Memory",
    "PolicyGradient",
    "RegularisedLeader",
    "Rule",
    "Sizes",
    "Smoothed",
    "Stack",
    "Tabular",
    "project",
    "tabular",
]


class Learner(Protocol):
    """See the module."""

    def init(self, key: Array | None = None) -> Any: ...

    def update(self, key: Any, memory: Any, batch: Batch, retain: Array | float) -> Any: ...

    def params(self, memory: Any) -> Array: ...

    def policy(self, params: Array, world: World) -> Array: ...

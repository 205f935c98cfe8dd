"""Learners of every kind of world: tables of label costs, online learners, networks."""

from dagger_jax.control.network import Network, network
from dagger_jax.tabular.learners import (
    Cautious,
    Counted,
    Descent,
    Ensemble,
    Hedge,
    Iterates,
    LogLoss,
    Majority,
    PolicyGradient,
    RegularisedLeader,
    Smoothed,
    Tabular,
    tabular,
)

__all__ = [
    "Cautious",
    "Counted",
    "Descent",
    "Ensemble",
    "Hedge",
    "Iterates",
    "LogLoss",
    "Majority",
    "Network",
    "PolicyGradient",
    "RegularisedLeader",
    "Smoothed",
    "Tabular",
    "network",
    "tabular",
]

"""Worlds as tables: built, checked, played by sampling and exactly, and the gallery of named ones."""

from dagger_jax.tabular.transitions import at
from dagger_jax.tabular.worlds import backward, load, reachable, shorten, world

__all__ = ["at", "backward", "load", "reachable", "shorten", "world"]

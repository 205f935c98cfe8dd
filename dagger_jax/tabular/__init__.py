"""Worlds as tables: built, checked, played by sampling and exactly, and the gallery of named ones."""

from dagger_jax.tabular.files import arrays, load
from dagger_jax.tabular.transitions import at
from dagger_jax.tabular.worlds import backward, reachable, shorten, world

__all__ = ["arrays", "at", "backward", "load", "reachable", "shorten", "world"]

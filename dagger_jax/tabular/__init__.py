"""Worlds as tables: built, checked, played by sampling and exactly, and the gallery of named ones."""

from dagger_jax.tabular.worlds import at, backward, load, reachable, shorten, world

__all__ = ["at", "backward", "load", "reachable", "shorten", "world"]

"""Worlds of text: a state is a prefix, experts and learners are writers."""

from dagger_jax.text.pairs import Pair, pair

__all__ = ["Pair", "pair"]

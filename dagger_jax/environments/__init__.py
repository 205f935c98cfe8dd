"""Worlds: building and checking tabular ones, and the gallery of named ones."""

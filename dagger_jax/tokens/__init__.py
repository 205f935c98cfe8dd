"""Worlds of prefixes: writers and learners of text."""

"""Worlds of text: a state is a prefix, experts and learners are writers."""

"""Worlds of any kind: states, observations and actions are whatever their methods say."""

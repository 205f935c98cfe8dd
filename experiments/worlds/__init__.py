"""Worlds in files, and what made them."""

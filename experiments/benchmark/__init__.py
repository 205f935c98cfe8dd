"""Steps per second, against the roll-out that everyone writes first."""

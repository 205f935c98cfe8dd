"""Every algorithm on every world of the gallery at an equal label budget, each held to its own theorem."""

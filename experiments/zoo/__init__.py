"""Every algorithm on every world of the gallery at an equal label budget, each checked against its own theorem."""

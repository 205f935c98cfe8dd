"""What surrounds a computation: where its results are stored, how far it is, what it ran on."""

"""No bound is violated on thousands of random worlds; how tight each is."""

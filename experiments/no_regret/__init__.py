"""DAgger's Theorems 4.1 and 4.2 at every number of rounds, and how loose they are."""

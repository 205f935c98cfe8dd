"""Where regret is quadratic in the horizon, and where linear."""

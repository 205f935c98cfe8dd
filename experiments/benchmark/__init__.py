"""How near the sampler comes to hand-written C, and how fast experiments, exact recursions and token worlds are."""

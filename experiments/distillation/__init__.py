"""GKD over lambda and divergence against chunks, at equal writer tokens and equal wall time."""

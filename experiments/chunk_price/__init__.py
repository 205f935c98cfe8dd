"""What a chunk of k steps costs: linear and quadratic are two ends of one dial."""

"""The engine benchmark: ours, and what else serves the same weights on a CPU."""

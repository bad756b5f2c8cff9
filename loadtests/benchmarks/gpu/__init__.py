"""What the engine makes of a GPU, against what the same GPU did in the same run."""

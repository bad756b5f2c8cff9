"""Loading checkpoints, against other loaders and against the machine."""

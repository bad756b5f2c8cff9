"""How fast a checkpoint comes from disk or store into memory, beside the loaders others use."""

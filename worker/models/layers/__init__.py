"""Layers that architectures share. A layer owns its tensors and names them for the loader."""

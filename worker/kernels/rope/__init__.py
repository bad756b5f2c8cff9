"""Rotary positions, and the write into the KV cache."""

from worker.kernels.rope.reference import rotate_and_store

__all__ = ["rotate_and_store"]

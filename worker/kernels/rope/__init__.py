"""Rotary positions, and the write into the KV cache."""

from worker.kernels.device import by_device
from worker.kernels.rope import reference

__all__ = ["rotate_and_store"]

rotate_and_store = by_device(reference.rotate_and_store)

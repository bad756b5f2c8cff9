"""A matrix product in which each group of rows has weights of its own."""

from worker.kernels.device import by_device
from worker.kernels.grouped_linear import reference

__all__ = ["grouped_linear"]

grouped_linear = by_device(reference.grouped_linear)

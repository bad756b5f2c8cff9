"""A matrix product with the weights."""

from worker.kernels.linear.reference import linear

__all__ = ["linear"]

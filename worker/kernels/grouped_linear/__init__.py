"""A matrix product in which each group of rows has weights of its own."""

from worker.kernels.grouped_linear.reference import grouped_linear

__all__ = ["grouped_linear"]

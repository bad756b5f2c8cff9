"""A matrix product with the weights."""

from worker.kernels.device import by_device
from worker.kernels.linear import reference

__all__ = ["linear"]

linear = by_device(reference.linear)

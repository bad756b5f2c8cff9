"""A matrix product with int8 weights."""

from worker.kernels.device import by_device
from worker.kernels.int8_linear import reference

__all__ = ["int8_linear"]

int8_linear = by_device(reference.int8_linear)

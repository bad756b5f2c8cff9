"""A matrix product with e4m3 weights."""

from worker.kernels.device import by_device
from worker.kernels.fp8_linear import reference
from worker.kernels.fp8_linear.reference import quantise_fp8

__all__ = ["fp8_linear", "quantise_fp8"]

fp8_linear = by_device(reference.fp8_linear)

"""A product with int8 weights: a scale for each output, and one for each row of activations."""

from worker.kernels.device import by_device
from worker.kernels.int8_linear import reference
from worker.kernels.int8_linear.reference import dequantised, quantise_rows

__all__ = ["dequantised", "int8_linear", "quantise_rows"]

int8_linear = by_device(reference.int8_linear)

"""A matrix product with weights of four bits."""

from worker.kernels.device import by_device
from worker.kernels.int4_linear import reference
from worker.kernels.int4_linear.packing import pack_int4, quantise_int4, unpack_int4

__all__ = ["int4_linear", "pack_int4", "quantise_int4", "unpack_int4"]

int4_linear = by_device(reference.int4_linear)

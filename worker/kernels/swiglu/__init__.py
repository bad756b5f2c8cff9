"""Gated activations."""

from worker.kernels.device import by_device
from worker.kernels.swiglu import reference

__all__ = ["geglu", "swiglu"]

swiglu = by_device(reference.swiglu)
geglu = by_device(reference.geglu)

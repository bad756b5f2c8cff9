"""Gated activations."""

from worker.kernels.swiglu.reference import geglu, swiglu

__all__ = ["geglu", "swiglu"]

"""The gated activation of an MLP."""

from worker.kernels.swiglu.reference import swiglu

__all__ = ["swiglu"]

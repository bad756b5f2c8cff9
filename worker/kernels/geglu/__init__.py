"""The gated activation of Gemma's MLP."""

from worker.kernels.geglu.reference import geglu

__all__ = ["geglu"]

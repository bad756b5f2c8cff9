"""The choice of the next token."""

from worker.kernels.sampling.reference import Draw, sample

__all__ = ["Draw", "sample"]

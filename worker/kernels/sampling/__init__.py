"""The choice of the next token."""

from worker.kernels.device import by_device
from worker.kernels.sampling import reference
from worker.kernels.sampling.reference import Draw

__all__ = ["Draw", "sample"]

sample = by_device(reference.sample)

"""The choice of the next token."""

from worker.kernels.device import by_device
from worker.kernels.sampling import reference
from worker.kernels.sampling.reference import NOT_FINITE, Draw

__all__ = ["NOT_FINITE", "Draw", "choose", "sample"]

choose = by_device(reference.choose)
sample = by_device(reference.sample)

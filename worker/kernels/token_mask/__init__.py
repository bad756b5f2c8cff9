"""Which tokens may be chosen."""

from worker.kernels.device import by_device
from worker.kernels.token_mask import reference

__all__ = ["apply_mask"]

apply_mask = by_device(reference.apply_mask)

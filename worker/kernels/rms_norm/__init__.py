"""Root mean square normalisation."""

from worker.kernels.device import by_device
from worker.kernels.rms_norm import reference

__all__ = ["rms_norm"]

rms_norm = by_device(reference.rms_norm)

"""What tokens cost for having been said."""

from worker.kernels.device import by_device
from worker.kernels.penalties import reference
from worker.kernels.penalties.reference import Penalty

__all__ = ["Penalty", "penalize"]

penalize = by_device(reference.penalize)

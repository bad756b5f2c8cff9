"""RMSNorm with its weight."""

from __future__ import annotations

from torch import Tensor

from worker.kernels.rms_norm import rms_norm
from worker.models.base import Placement


class RmsNorm:
    def __init__(
        self, width: int, epsilon: float, placement: Placement, shift: float = 0.0
    ) -> None:
        self.weight = placement.empty(width)
        self._epsilon = epsilon
        self._shift = shift

    def __call__(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The normalised sum of both, and the sum."""
        return rms_norm(hidden, self.weight, self._epsilon, residual, self._shift)

"""The gated MLP."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from worker.kernels.swiglu import swiglu
from worker.models.base import Placement, WeightTarget
from worker.models.layers.linear import Linear


class GatedMlp:
    """Gate and up share one product."""

    def __init__(
        self,
        width: int,
        inner_width: int,
        placement: Placement,
        activate: Callable[[Tensor, bool], Tensor] = swiglu,
    ) -> None:
        self._gate_and_up = Linear(width, [inner_width, inner_width], placement)
        self._down = Linear(inner_width, [width], placement)
        self._activate = activate
        self._exact = placement.exact

    @property
    def recordable(self) -> bool:
        return self._gate_and_up.recordable and self._down.recordable

    def tensors(self) -> dict[str, WeightTarget]:
        gate, up = self._gate_and_up.weights
        [down] = self._down.weights
        return {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": down}

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        return self._down(self._activate(self._gate_and_up(hidden), self._exact))

"""The gated MLP."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from worker.kernels.linear import linear
from worker.kernels.swiglu import swiglu
from worker.models.base import Placement


class GatedMlp:
    """Gate and up share one product."""

    def __init__(
        self,
        width: int,
        inner_width: int,
        placement: Placement,
        activate: Callable[[Tensor, bool], Tensor] = swiglu,
    ) -> None:
        self._gate_and_up = placement.empty(2 * inner_width, width)
        self._down = placement.empty(width, inner_width)
        self._activate = activate
        self._exact = placement.exact

    def tensors(self) -> dict[str, Tensor]:
        gate, up = self._gate_and_up.chunk(2)
        return {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": self._down}

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        activated = self._activate(linear(hidden, self._gate_and_up, self._exact), self._exact)
        return linear(activated, self._down, self._exact)

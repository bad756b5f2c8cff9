"""A mixture of experts: each row meets the few gated MLPs that its router chose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.grouped_linear import grouped_linear
from worker.kernels.linear import linear
from worker.kernels.swiglu import swiglu
from worker.models.base import ModelError, Placement, WeightTarget


@dataclass(frozen=True, slots=True)
class SparseShape:
    width: int
    inner_width: int
    """Of one expert."""
    experts: int
    chosen: int
    """Experts a row."""
    normalised: bool
    """Whether the weights of a row's experts add up to 1."""
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    """What the checkpoint calls the matrices of an expert."""

    def __post_init__(self) -> None:
        if self.chosen > self.experts:
            raise ModelError(
                f"config.json: num_experts_per_tok is {self.chosen}, of {self.experts} experts"
            )


class SparseMlp:
    """Rows are sorted by expert, so that each matrix is read once a step (Gale et al., 2022)."""

    recordable = False

    def __init__(self, shape: SparseShape, placement: Placement) -> None:
        self._shape = shape
        self._exact = placement.exact
        self._router = placement.empty(shape.experts, shape.width)
        self._gate_and_up = placement.empty(shape.experts, 2 * shape.inner_width, shape.width)
        self._down = placement.empty(shape.experts, shape.width, shape.inner_width)

    def tensors(self) -> dict[str, WeightTarget]:
        named: dict[str, WeightTarget] = {"gate.weight": self._router}
        for expert in range(self._shape.experts):
            gate, up = self._gate_and_up[expert].chunk(2)
            prefix = f"experts.{expert}."
            named[f"{prefix}{self._shape.gate}.weight"] = gate
            named[f"{prefix}{self._shape.up}.weight"] = up
            named[f"{prefix}{self._shape.down}.weight"] = self._down[expert]
        return named

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        shares, experts = self._route(hidden)
        sorted_experts, order = experts.flatten().sort(stable=True)
        # Not by counting: on a GPU that would wait for the device.
        numbers = torch.arange(self._shape.experts, device=hidden.device)
        ends = torch.searchsorted(sorted_experts, numbers, right=True)
        sorted_rows = hidden[order // self._shape.chosen]
        inner = swiglu(
            grouped_linear(sorted_rows, self._gate_and_up, ends, self._exact), self._exact
        )
        product = grouped_linear(inner, self._down, ends, self._exact)
        outputs = torch.empty_like(product)
        outputs[order] = product
        # One addition after the other: a sum would choose their order by the batch's shape.
        total = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device)
        for place, output in enumerate(outputs.view(*experts.shape, -1).unbind(dim=1)):
            total += output * shares[:, place, None]
        return total.to(hidden.dtype)

    def _route(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (fp32) and numbers of each row's experts: [rows, chosen]."""
        scores = linear(hidden, self._router, self._exact).float().softmax(dim=-1)
        shares, experts = scores.topk(self._shape.chosen, dim=-1)
        if self._shape.normalised:
            shares = shares / shares.sum(dim=-1, keepdim=True)
        return shares, experts

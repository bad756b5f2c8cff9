"""GeGLU (Shazeer, 2020) with the approximation of GELU by tanh (Hendrycks and Gimpel, 2016)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def geglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:
    """gelu(gate) * up.

    Args:
        gate_and_up: [rows, 2 x width], the gate first.

    Returns:
        [rows, width].
    """
    width = gate_and_up.shape[-1] // 2
    gate, up = gate_and_up[:, :width], gate_and_up[:, width:]
    if not exact:
        return functional.gelu(gate, approximate="tanh") * up
    # Each row is a tensor of its own, as in `swiglu`.
    rows = [gate[i : i + 1].clone() for i in range(len(gate))]
    return torch.cat([functional.gelu(row, approximate="tanh") for row in rows]) * up

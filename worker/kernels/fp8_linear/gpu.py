"""Products with e4m3 weights: half the bytes of a decode, widened in registers."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.compilation import Program
from worker.kernels.linear import product


def fp8_linear(hidden: Tensor, weight: Tensor, scales: Tensor, exact: bool = False) -> Tensor:
    """See the reference. Exact: tile and segments follow from the weight's shape alone."""
    return product.product(hidden, weight.view(torch.uint8), scales, exact)


def programs() -> list[Program]:
    """A decode in segments."""
    return product.programs(coded=True)

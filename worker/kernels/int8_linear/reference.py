"""y = x Wᵀ in int8: symmetric scales per row of x and per output of W (LLM.int8(), Dettmers et al.,
2022, without its outliers). A scale for a whole batch would let a neighbour change an answer."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 127
SCALE_GROUP = 64
"""Inputs that share a scale where weights have one for each group of them."""


def int8_linear(hidden: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """Quantise rows, multiply, and scale back. Sums are whole numbers: their order means nothing.

    Args:
        hidden: [rows, inputs].
        weight: [outputs, inputs] int8.
        scales: [outputs] fp32; an output's weights are its int8 values times its scale.

    Returns:
        [rows, outputs] in the dtype of `hidden`; a row that is not finite gives no finite output.
    """
    values, row_scales = quantise_rows(hidden)
    # fp64 holds every sum of such products exactly, below 2^53 / 127^2 inputs.
    sums = values.double() @ weight.double().T
    return (sums.float() * row_scales[:, None] * scales).to(hidden.dtype)


def quantise_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, width] -> int8 of the same shape, and a scale for each row (fp32)."""
    wide = rows.float()
    scales = wide.abs().amax(dim=-1) / LARGEST
    inverse = torch.where(scales > 0, 1 / scales, 0)
    nearest = (wide * inverse[:, None]).round().nan_to_num().clamp(-LARGEST, LARGEST)
    return nearest.to(torch.int8), scales


def dequantised(values: Tensor, scales: Tensor) -> Tensor:
    """int8 [outputs, inputs] with fp32 scales [outputs, groups of 64 inputs] -> fp32; the last
    group may be shorter."""
    spread = scales.repeat_interleave(SCALE_GROUP, dim=1)[:, : values.shape[1]]
    return values.float() * spread

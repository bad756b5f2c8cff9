"""y = x Wᵀ with weights in int8, a scale for each channel and one for each row (ZeroQuant)."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 127


def int8_linear(hidden: Tensor, weight: Tensor, scales: Tensor, exact: bool = False) -> Tensor:  # noqa: ARG001
    """Quantise each row by its own largest value, and multiply in whole numbers.

    Args:
        hidden: [rows, inputs] of a float dtype.
        weight: [outputs, inputs] int8.
        scales: [outputs] fp32: what one step of each channel's weights is worth.
        exact: changes nothing; sums of whole numbers have no order.

    Returns:
        [rows, outputs] in the dtype of `hidden`; a row that is not finite gives NaN.
    """
    wide = hidden.float()
    row_scales = wide.abs().amax(dim=1, keepdim=True) / MOST
    inverse = torch.where(row_scales > 0, 1 / row_scales, 0)
    codes = (wide * inverse).round().nan_to_num().clamp(-MOST, MOST)
    # fp64 holds every sum of such products exactly.
    product = codes.double() @ weight.double().T
    return (product.float() * row_scales * scales).to(hidden.dtype)

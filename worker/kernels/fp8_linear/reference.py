"""y = x Wᵀ with weights in e4m3 (Micikevicius et al., 2022) and a scale for each channel.

Rows keep their dtype. Products of 8 bits have `int8_linear`, whose peak on tensor cores that know
e4m3 is the same and which runs on those that do not; e4m3 rows would be less precise, and another
answer on each class of GPU. What e4m3 weights are for is half the bytes of a decode.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.linear.reference import linear

E4M3_MOST = 448.0


def fp8_linear(hidden: Tensor, weight: Tensor, scales: Tensor, exact: bool = False) -> Tensor:
    """Multiply rows by weights that are widened on the way.

    Args:
        hidden: [rows, inputs] of a float dtype.
        weight: [outputs, inputs] float8_e4m3fn, finite.
        scales: [outputs] fp32: what 1.0 of each channel's weights is worth.

    Returns:
        [rows, outputs] in the dtype of `hidden`.
    """
    return (linear(hidden.float(), weight.float(), exact) * scales).to(hidden.dtype)


def quantise_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[outputs, inputs] -> e4m3 of the same shape, and scales [outputs] fp32.

    Each channel's largest weight becomes the largest e4m3.
    """
    wide = weight.float()
    scales = wide.abs().amax(dim=1) / E4M3_MOST
    shrunk = wide / torch.where(scales > 0, scales, 1.0)[:, None]
    return shrunk.clamp(-E4M3_MOST, E4M3_MOST).to(torch.float8_e4m3fn), scales

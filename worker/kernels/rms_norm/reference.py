"""RMSNorm (Zhang and Sennrich, 2019), fused with the residual addition before it."""

from __future__ import annotations

import torch
from torch import Tensor


def rms_norm(
    hidden: Tensor,
    weight: Tensor,
    epsilon: float,
    residual: Tensor | None = None,
    shift: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Normalise each row of `hidden + residual`; statistics are fp32.

    Args:
        hidden: [rows, width].
        weight: [width].
        residual: [rows, width], or None for zero.
        shift: added to the weight, whose product is then taken in fp32 (Gemma).

    Returns:
        The normalised rows, and the sum (the next residual), both in the dtype of `hidden`.
    """
    if residual is not None:
        hidden = hidden + residual
    wide = hidden.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + epsilon)
    if shift:
        return (wide * scale * (weight.float() + shift)).to(hidden.dtype), hidden
    return (wide * scale).to(hidden.dtype) * weight, hidden

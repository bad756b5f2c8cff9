"""y = x Wᵀ with weights of four bits, in groups with a scale and a zero point each."""

from __future__ import annotations

from torch import Tensor

from worker.kernels.int4_linear.packing import unpack_int4
from worker.kernels.linear.reference import linear


def int4_linear(
    hidden: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor, exact: bool = False
) -> Tensor:
    """Multiply rows by weights (code - zero point) x scale.

    Args:
        hidden: [rows, inputs] of a float dtype.
        packed: [outputs, inputs / 2] uint8, as `packing` says.
        scales: [outputs, groups] of a float dtype.
        zeros: [outputs, groups] uint8.

    Returns:
        [rows, outputs] in the dtype of `hidden`; sums are fp32.
    """
    group = 2 * packed.shape[1] // scales.shape[1]
    codes = unpack_int4(packed, group).float().view(*scales.shape, group)
    weight = (codes - zeros.float()[..., None]) * scales.float()[..., None]
    return linear(hidden.float(), weight.flatten(1), exact).to(hidden.dtype)

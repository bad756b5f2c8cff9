"""y = x Wᵀ with a W for each group of rows: the product of a mixture of experts."""

from __future__ import annotations

from torch import Tensor

from worker.kernels.linear import linear


def grouped_linear(hidden: Tensor, weights: Tensor, ends: Tensor, exact: bool = False) -> Tensor:
    """Multiply each group of rows by its own weight matrix.

    Args:
        hidden: [rows, inputs], the rows of a group one after the other.
        weights: [groups, outputs, inputs], same dtype.
        ends: [groups] int64: the row after the last of each group, never falling; the last one is
            `rows`. A group may be empty.

    Returns:
        [rows, outputs].
    """
    output = hidden.new_empty(hidden.shape[0], weights.shape[1])
    start = 0
    for weight, end in zip(weights, ends.tolist(), strict=True):
        if start < end:
            output[start:end] = linear(hidden[start:end], weight, exact)
        start = end
    return output

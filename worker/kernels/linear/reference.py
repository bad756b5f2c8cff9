"""y = x Wᵀ."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

EXACT_TILE_ROWS = 8
"""A GEMM picks its order of additions by its shape, not by a row's place in it: so a fixed number
of rows gives each row the same bits. Eight cost a lone row twice, and a prefill little."""


def linear(hidden: Tensor, weight: Tensor, exact: bool = False) -> Tensor:
    """Multiply rows by a weight matrix.

    Args:
        hidden: [rows, inputs].
        weight: [outputs, inputs], same dtype.

    Returns:
        [rows, outputs].
    """
    if not exact:
        return functional.linear(hidden, weight)
    rows = hidden.shape[0]
    output = hidden.new_empty(rows, weight.shape[0])
    for start in range(0, rows, EXACT_TILE_ROWS):
        tile = hidden[start : start + EXACT_TILE_ROWS]
        count = tile.shape[0]
        # A tile of its own in memory: alignment can change the order of additions, too.
        padded = hidden.new_zeros(EXACT_TILE_ROWS, hidden.shape[1])
        padded[:count] = tile
        output[start : start + count] = functional.linear(padded, weight)[:count]
    return output

"""y = s (x Aᵀ) Bᵀ with A, B and s of each row's adapter (LoRA, Hu et al., 2021)."""

from __future__ import annotations

from torch import Tensor

from worker.kernels.linear.reference import linear

MOST_RANK = 64


def lora_shrink_expand(
    hidden: Tensor,
    a: Tensor,
    b: Tensor,
    adapter_of_row: Tensor,
    scales: Tensor,
    exact: bool = False,
) -> Tensor:
    """What to add to the rows of a product whose adapters differ.

    Args:
        hidden: [rows, inputs] of a float dtype.
        a: [adapters, rank, inputs], same dtype; smaller ranks padded with zeros.
        b: [adapters, outputs, rank], same dtype.
        adapter_of_row: [rows] int64; -1 is none.
        scales: [adapters] fp32.

    Returns:
        [rows, outputs], same dtype; 0 in rows without an adapter. The narrow rows between the two
        products are rounded to that dtype, sums are fp32.

    Raises:
        ValueError: the rank is above `MOST_RANK`.
    """
    check_rank(a)
    output = hidden.new_zeros(hidden.shape[0], b.shape[1])
    for adapter, scale in enumerate(scales.tolist()):
        rows = (adapter_of_row == adapter).nonzero().squeeze(1)
        if len(rows):
            narrow = linear(hidden[rows].float(), a[adapter].float(), exact).to(hidden.dtype)
            added = linear(narrow.float(), b[adapter].float(), exact) * scale
            output[rows] = added.to(hidden.dtype)
    return output


def check_rank(a: Tensor) -> None:
    """Raises `ValueError` where the rank of [adapters, rank, inputs] is too large."""
    if a.shape[1] > MOST_RANK:
        raise ValueError(f"an adapter of rank {a.shape[1]}: {MOST_RANK} is the most")

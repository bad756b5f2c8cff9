"""Rotary positions (Su et al., 2021), halves layout, fused with the write into the KV cache."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.kv_coding import KvScales, encode


def rotate_and_store(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rotation: tuple[Tensor, Tensor],
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    scales: KvScales | None = None,
) -> Tensor:
    """Rotate queries and keys by their positions, and store keys and values.

    Args:
        query: [rows, query heads, head width].
        key, value: [rows, kv heads, head width].
        rotation: cosines and sines of each row, each [rows, head width / 2], fp32.
        slots: [rows] int64, block x block_tokens + offset of each row.
        key_cache, value_cache: [kv heads, blocks, block_tokens, head width], written in place.
        scales: of caches of 8 bits, written in place; see `kv_coding`.

    Returns:
        The rotated queries, [rows, query heads, head width].
    """
    key_scales, value_scales = scales or (None, None)
    _store(_rotate(key, rotation), slots, key_cache, key_scales)
    _store(value, slots, value_cache, value_scales)
    return _rotate(query, rotation)


def _store(vectors: Tensor, slots: Tensor, cache: Tensor, scales: Tensor | None) -> None:
    """Put [rows, kv heads, head width] into their slots."""
    heads, _, _, width = cache.shape
    stored = vectors.transpose(0, 1)
    if scales is None:
        stored = stored.to(cache.dtype)
    else:
        stored, row_scales = encode(stored, cache.dtype)
        scales.view(heads, -1)[:, slots] = row_scales
    # As bytes where it is coded: torch copies no e4m3 by index.
    whole = cache if scales is None else cache.view(torch.uint8)
    whole.view(heads, -1, width).index_copy_(1, slots, stored.view(whole.dtype))


def _rotate(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = (table.unsqueeze(1) for table in rotation)
    first, second = vectors.float().chunk(2, dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat(turned, dim=-1).to(vectors.dtype)

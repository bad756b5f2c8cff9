"""Rotary positions (Su et al., 2021), halves layout, fused with the write into the KV cache."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate_and_store(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rotation: tuple[Tensor, Tensor],
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
) -> Tensor:
    """Rotate queries and keys by their positions, and store keys and values.

    Args:
        query: [rows, query heads, head width].
        key, value: [rows, kv heads, head width].
        rotation: cosines and sines of each row, each [rows, head width / 2], fp32.
        slots: [rows] int64, block x block_tokens + offset of each row.
        key_cache, value_cache: [kv heads, blocks, block_tokens, head width], written in place.

    Returns:
        The rotated queries, [rows, query heads, head width].
    """
    heads, _, _, width = key_cache.shape
    rotated = _rotate(key, rotation).transpose(0, 1).to(key_cache.dtype)
    key_cache.view(heads, -1, width).index_copy_(1, slots, rotated)
    stored = value.transpose(0, 1).to(value_cache.dtype)
    value_cache.view(heads, -1, width).index_copy_(1, slots, stored)
    return _rotate(query, rotation)


def _rotate(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = (table.unsqueeze(1) for table in rotation)
    first, second = vectors.float().chunk(2, dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat(turned, dim=-1).to(vectors.dtype)

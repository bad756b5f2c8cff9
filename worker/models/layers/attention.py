"""Grouped-query self-attention with rotary positions."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.linear import linear
from worker.kernels.paged_attention import AttentionBatch, paged_attention
from worker.kernels.rope import rotate_and_store
from worker.models.base import Placement


class Attention:
    """Query, key and value share one product."""

    def __init__(
        self, width: int, heads: int, kv_heads: int, head_width: int, placement: Placement
    ) -> None:
        self._split = [heads * head_width, kv_heads * head_width, kv_heads * head_width]
        self._head_width = head_width
        self._exact = placement.exact
        self._qkv = placement.empty(sum(self._split), width)
        self._output = placement.empty(width, heads * head_width)

    def tensors(self) -> dict[str, Tensor]:
        query, key, value = torch.split(self._qkv, self._split)
        return {
            "q_proj.weight": query,
            "k_proj.weight": key,
            "v_proj.weight": value,
            "o_proj.weight": self._output,
        }

    def __call__(
        self,
        hidden: Tensor,
        rotation: tuple[Tensor, Tensor],
        slots: Tensor,
        cache: tuple[Tensor, Tensor],
        batch: AttentionBatch,
    ) -> Tensor:
        """[rows, width] -> [rows, width]; writes the rows' keys and values into `cache`."""
        rows = hidden.shape[0]
        parts = torch.split(linear(hidden, self._qkv, self._exact), self._split, dim=-1)
        query, key, value = (part.view(rows, -1, self._head_width) for part in parts)
        query = rotate_and_store(query, key, value, rotation, slots, *cache)
        mixed = paged_attention(query, *cache, batch, self._exact)
        return linear(mixed.view(rows, -1), self._output, self._exact)

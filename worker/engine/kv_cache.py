"""The tensors of the paged KV cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.models.base import ModelShape


class KvCache:
    """Blocks 1..`blocks` are the scheduler's; the null block stays zero.

    Heads come first, so that a head's keys are contiguous, and so that tensor parallelism slices
    whole ranges.
    """

    def __init__(
        self,
        shape: ModelShape,
        blocks: int,
        block_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        size = (
            2,
            shape.layers,
            shape.kv_heads,
            blocks + 1,
            block_tokens,
            shape.head_width,
        )
        self._storage = torch.zeros(size, dtype=dtype, device=device)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        return self._storage[0, index], self._storage[1, index]

    def clear(self, blocks: Sequence[int]) -> None:
        """Zero blocks: a weight of 0 does not silence what a former owner left, if it is NaN."""
        if blocks:
            indexes = torch.tensor(blocks, device=self._storage.device)
            self._storage.index_fill_(3, indexes, 0)


def token_bytes(shape: ModelShape, dtype: torch.dtype) -> int:
    """KV bytes of one position."""
    return 2 * shape.layers * shape.kv_heads * shape.head_width * dtype.itemsize

"""The tensors of the paged KV cache."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

from worker.kernels.kv_coding import MOST, KvScales
from worker.models.base import ModelShape

CACHE_DTYPES = {
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "fp8": torch.float8_e4m3fn,
}
SCALE_BYTES = 4


class KvCache:
    """Blocks 1..`blocks` are the scheduler's, the null block is nobody's. On a CPU it stays zero;
    on a GPU rows that belong to nobody write to it, and no kernel reads it for anybody.

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
        size = (2, shape.layers, shape.kv_heads, blocks + 1, block_tokens)
        self._storage = _zeros((*size, shape.head_width), dtype, device)
        self._scales = _zeros(size, torch.float32, device) if dtype in MOST else None

    @property
    def parts(self) -> list[Tensor]:
        """All tensors, their blocks in dimension 3."""
        return [self._storage] if self._scales is None else [self._storage, self._scales]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        return self._storage[0, index], self._storage[1, index]

    def scales(self, index: int) -> KvScales | None:
        return None if self._scales is None else (self._scales[0, index], self._scales[1, index])

    def clear(self, blocks: Sequence[int]) -> None:
        """Zero blocks: a weight of 0 does not silence what a former owner left, if it is NaN."""
        if blocks:
            indexes = torch.tensor(blocks, device=self._storage.device)
            if self._scales is None:
                self._storage.index_fill_(3, indexes, 0)
            else:
                # As bytes: torch fills no e4m3 by index.
                self._storage.view(torch.uint8).index_fill_(3, indexes, 0)
                self._scales.index_fill_(3, indexes, 0)


def cache_dtype(option: str, model_dtype: torch.dtype) -> torch.dtype:
    """What the option `kv_cache_dtype` means beside a model of some dtype."""
    return model_dtype if option == "auto" else CACHE_DTYPES[option]


def token_bytes(shape: ModelShape, dtype: torch.dtype) -> int:
    """KV bytes of one position, scales included."""
    scale_bytes = SCALE_BYTES if dtype in MOST else 0
    head_bytes = shape.head_width * dtype.itemsize + scale_bytes
    return 2 * shape.layers * shape.kv_heads * head_bytes


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """On a CPU memory comes as zeros and is taken page by page as blocks are first written: to
    write zeros would take it all at once, some 0.3 s a GiB of every start. Not by numpy: it asks
    for huge pages, and the first block of every layer and head would take one each."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    count = math.prod(size)
    if count == 0:
        return torch.zeros(size, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype).view(size)

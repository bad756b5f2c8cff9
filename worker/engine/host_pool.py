"""Room in host memory for the KV blocks of sequences that gave up theirs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from worker.engine.kv_cache import KvCache

_BLOCK_DIMENSION = 3
_TRIALS = 3


class HostPool:
    """Copies blocks as bytes, whatever they hold. On a GPU copies stand in line with other work:
    nothing waits for them here, and what is queued after them finds them done.

    Args:
        parts: tensors of a KV cache, [2, layers, kv heads, blocks, ...].
        slots: blocks that fit into the pool.
    """

    def __init__(self, parts: Sequence[Tensor], slots: int) -> None:
        self._parts = [part.view(torch.uint8) for part in parts]
        self._slots = [
            torch.empty(
                (slots, *part.shape[:_BLOCK_DIMENSION], *part.shape[_BLOCK_DIMENSION + 1 :]),
                dtype=torch.uint8,
                pin_memory=part.is_cuda,
            )
            for part in self._parts
        ]

        self.block_copy_s = self._measure_block_copy_s()
        """What one block takes one way."""

    @classmethod
    def of(cls, cache: KvCache, slots: int) -> HostPool | None:
        """A pool for the blocks of a cache; None where it would hold none."""
        return cls(cache.parts, slots) if slots else None

    def move(self, swap_out: Sequence[tuple[int, int]], swap_in: Sequence[tuple[int, int]]) -> None:
        """Copy (block, slot) pairs out, then (slot, block) pairs in."""
        for cache, pool in zip(self._parts, self._slots, strict=True):
            for block, slot in swap_out:
                out = cache.select(_BLOCK_DIMENSION, block).contiguous()
                pool[slot].copy_(out, non_blocking=True)
            for slot, block in swap_in:
                back = pool[slot].to(cache.device, non_blocking=True)
                cache.select(_BLOCK_DIMENSION, block).copy_(back)

    def _measure_block_copy_s(self) -> float:
        """Tried on the null block, which nothing uses yet."""
        times_s = []
        for _ in range(_TRIALS):
            began_s = time.perf_counter()
            self.move([(0, 0)], [(0, 0)])
            if self._parts[0].is_cuda:
                torch.cuda.synchronize(self._parts[0].device)
            times_s.append(time.perf_counter() - began_s)
        return min(times_s) / 2

"""The blocks of the paged KV cache: who holds which (vLLM's PagedAttention)."""

from __future__ import annotations

from worker.scheduling.sequence import Sequence

NULL_BLOCK = 0
"""Belongs to nobody and stays zero: shorter block tables are padded with it."""


class BlockManager:
    """Hands out blocks 1..`blocks`, each to one sequence at a time."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self._free = list(range(blocks, NULL_BLOCK, -1))

    @property
    def free_blocks(self) -> int:
        return len(self._free)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def missing(self, sequence: Sequence, tokens: int) -> int:
        """Blocks that the sequence lacks to hold `tokens` positions."""
        return max(0, self.blocks_for(tokens) - len(sequence.block_table))

    def grow(self, sequence: Sequence, tokens: int) -> list[int]:
        """Give the sequence room for `tokens` positions; returns its new blocks.

        Raises:
            ValueError: fewer blocks are free than are missing (ask `missing` first).
        """
        missing = self.missing(sequence, tokens)
        if missing > len(self._free):
            raise ValueError(f"{missing} blocks wanted, {len(self._free)} are free")
        fresh = [self._free.pop() for _ in range(missing)]
        sequence.block_table += fresh
        return fresh

    def release(self, sequence: Sequence) -> None:
        self._free += reversed(sequence.block_table)
        sequence.block_table = []

"""The blocks of the paged KV cache: who holds which (vLLM's PagedAttention)."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from infra.prefix import extend_hashes
from worker.scheduling.prefix_tree import Node, PrefixTree
from worker.scheduling.sequence import Sequence

NULL_BLOCK = 0
"""Belongs to nobody and stays zero: shorter block tables are padded with it."""


class BlockManager:
    """Hands out blocks 1..`blocks`. Each is free, or of one sequence, or in the prefix tree, where
    many may read it and nobody writes.

    Args:
        reuse: whether blocks that sequences have filled are kept for others with the same prefix.
    """

    def __init__(self, blocks: int, block_tokens: int, reuse: bool = True) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.tree = PrefixTree()
        self._reuse = reuse
        self._free = list(range(blocks, NULL_BLOCK, -1))

    @property
    def free_blocks(self) -> int:
        """Blocks that can be handed out; some of them are cached until then."""
        return len(self._free) + self.tree.idle_blocks

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
        if missing > self.free_blocks:
            raise ValueError(f"{missing} blocks wanted, {self.free_blocks} are free")
        fresh = [self._free.pop() if self._free else self.tree.evict() for _ in range(missing)]
        sequence.block_table += tuple(fresh)
        return fresh

    def release(self, sequence: Sequence) -> None:
        """Take all blocks from the sequence; the tree keeps its own until others need them."""
        self._free += reversed(sequence.block_table[len(sequence.shared_path) :])
        self.tree.let_go(sequence.shared_path)
        sequence.shared_path = []
        sequence.block_table = ()

    # --- prefixes ---

    def cached_prefix(self, sequence: Sequence) -> list[Node]:
        """The longest cached path that a sequence without blocks may start with.

        At least its last token is left to be computed: somebody wants its logits.
        """
        if not (self._reuse and sequence.reuse_prefix):
            return []
        blocks = (len(sequence.tokens) - 1) // self.block_tokens
        return self.tree.find(self.digests(sequence, blocks))

    def fits(self, sequence: Sequence, path: Seq[Node], spare: int) -> bool:
        """Whether blocks for all that the sequence knows, and `spare` ones, are there, if it starts
        with `path`."""
        idle = sum(not node.references for node in path)
        missing = self.blocks_for(sequence.expected_tokens) - len(path)
        return missing + spare <= self.free_blocks - idle

    def attach(self, sequence: Sequence, path: list[Node]) -> None:
        """Let a sequence without blocks start with this path."""
        self.tree.hold(path)
        sequence.shared_path = path
        sequence.block_table = tuple(node.block for node in path)
        cached = len(path) * self.block_tokens
        sequence.computed_tokens = max(sequence.computed_tokens, cached)
        sequence.proven_tokens = max(sequence.proven_tokens, cached)

    def share(self, sequence: Sequence) -> None:
        """Move full blocks that will not be written again into the tree.

        A block that is there already takes the place of the sequence's own, which holds the same.
        """
        full, path = sequence.shareable_tokens // self.block_tokens, sequence.shared_path
        if full <= len(path) or not self._reuse:
            return
        first, table = len(path), list(sequence.block_table)
        for index, digest in enumerate(self.digests(sequence, full)[first:], first):
            node = self.tree.hold_or_add(digest, table[index])
            path.append(node)
            if node.block != table[index]:
                self._free.append(table[index])
                table[index] = node.block
        sequence.block_table = tuple(table)

    def digests(self, sequence: Sequence, blocks: int) -> list[bytes]:
        """The hashes of the first blocks of a sequence."""
        known = sequence.digests
        if len(known) < blocks:
            extend_hashes(known, sequence.tokens, self.block_tokens, blocks, sequence.cache_salt)
        return known[:blocks]

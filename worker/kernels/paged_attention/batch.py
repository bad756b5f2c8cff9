"""The shape of a ragged attention batch, built once a step and used by every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from worker.kernels.paged_attention.ragged import RaggedLayout

TILE_ROWS = 16
"""Rows of a tile on a CPU: they share the keys that it reads."""


@dataclass(frozen=True, slots=True)
class Span:
    """The query rows of one sequence: row i sees the keys at positions 0 .. start + i."""

    first_row: int
    rows: int
    start: int
    """Position of the first row."""
    table: Tensor
    """[blocks] int64: the blocks that hold positions 0 .. start + rows."""


@dataclass(frozen=True)
class AttentionBatch:
    """The layout, and what some implementation derives from it when it first asks."""

    ragged: RaggedLayout
    parts: tuple[tuple[int, int], ...]
    """(start, rows) of each sequence, in the order of their rows; decodes (one row) first."""
    block_tokens: int

    @classmethod
    def build(
        cls,
        parts: Sequence[tuple[int, int, Sequence[int]]],
        block_tokens: int,
        device: torch.device,
    ) -> AttentionBatch:
        """Lay out the batch.

        Args:
            parts: (start, rows, block table) of each sequence, decodes first.
        """
        ragged = RaggedLayout.build(parts, block_tokens, device)
        return cls(ragged, tuple((start, rows) for start, rows, _ in parts), block_tokens)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """In the order of their rows; spans of one row come first."""
        spans: list[Span] = []
        first_row = 0
        for (start, rows), blocks in zip(self.parts, self.ragged.tables.long(), strict=True):
            held = -(-(start + rows) // self.block_tokens)
            spans.append(Span(first_row, rows, start, blocks[:held]))
            first_row += rows
        return tuple(spans)

    @cached_property
    def decodes(self) -> int:
        """How many sequences have one row."""
        ones = (i for i, (_, rows) in enumerate(self.parts) if rows > 1)
        return next(ones, len(self.parts))

    @cached_property
    def decode_tables(self) -> Tensor:
        """[decodes, blocks] int64, padded with the null block."""
        spans = self.spans[: self.decodes]
        longest = max((len(span.table) for span in spans), default=0)
        return self.ragged.tables[: self.decodes, :longest].long()

    @cached_property
    def decode_bias(self) -> Tensor:
        """[decodes, 1, blocks x block_tokens] fp32: 0 where a key is seen, -inf where not."""
        tables = self.decode_tables
        starts = torch.tensor([start for start, _ in self.parts[: self.decodes]])
        positions = torch.arange(tables.shape[1] * self.block_tokens, device=tables.device)
        unseen = positions > starts.to(tables.device)[:, None]
        bias = torch.zeros(unseen.shape, device=tables.device).masked_fill_(unseen, -torch.inf)
        return bias[:, None, :]

    @cached_property
    def tiles(self) -> Tensor:
        """[tiles, 4] int32 on the CPU: sequence, first row, rows (at most `TILE_ROWS`), position of
        the first row."""
        tiles: list[tuple[int, int, int, int]] = []
        first_row = 0
        for number, (start, rows) in enumerate(self.parts):
            for row in range(0, rows, TILE_ROWS):
                count = min(TILE_ROWS, rows - row)
                tiles.append((number, first_row + row, count, start + row))
            first_row += rows
        return torch.from_numpy(np.array(tiles, np.int32).reshape(-1, 4))

    def take_over(self, other: AttentionBatch) -> bool:
        """Read from now on what another batch says, in the memory of this one; returns False,
        having changed nothing, where a shape differs. Recorded tasks see it, as long as they took
        nothing but addresses and shapes from here."""
        mine = {name: each for name, each in vars(self).items() if isinstance(each, Tensor)}
        pairs = [(each, getattr(other, name)) for name, each in mine.items()]
        pairs += [
            (getattr(self.ragged, name), getattr(other.ragged, name))
            for name in ("row_starts", "positions", "tables")
        ]
        if any(held.shape != new.shape for held, new in pairs):
            return False
        for held, new in pairs:
            held.copy_(new)
        return True

    @classmethod
    def of_ragged(cls, ragged: RaggedLayout) -> AttentionBatch:
        """What the GPU's kernel needs, and nothing for the others."""
        return cls(ragged, (), 0)

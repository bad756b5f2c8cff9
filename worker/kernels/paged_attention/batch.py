"""The shape of a ragged attention batch, built once a step and used by every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.paged_attention.ragged import RaggedLayout


@dataclass(frozen=True, slots=True)
class Span:
    """The query rows of one sequence: row i sees the keys at positions 0 .. start + i."""

    first_row: int
    rows: int
    start: int
    """Position of the first row."""
    table: Tensor
    """[blocks] int64: the blocks that hold positions 0 .. start + rows."""


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    spans: tuple[Span, ...]
    """In the order of their rows; spans of one row (decodes) come first."""
    decodes: int
    """How many spans have one row."""
    decode_tables: Tensor
    """[decodes, blocks] int64, padded with the null block."""
    decode_bias: Tensor
    """[decodes, 1, blocks x block_tokens] fp32: 0 where a key is seen, -inf where not."""
    ragged: RaggedLayout | None = None
    """The same batch for the kernel, where tensors are on a GPU."""

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
        spans: list[Span] = []
        first_row = 0
        for start, rows, blocks in parts:
            held = blocks[: -(-(start + rows) // block_tokens)]
            table = torch.tensor(held, dtype=torch.int64, device=device)
            spans.append(Span(first_row, rows, start, table))
            first_row += rows
        decodes = next((i for i, span in enumerate(spans) if span.rows > 1), len(spans))
        longest = max((len(span.table) for span in spans[:decodes]), default=0)
        tables = torch.zeros(decodes, longest, dtype=torch.int64, device=device)
        for row, span in zip(tables, spans[:decodes], strict=True):
            row[: len(span.table)] = span.table
        starts = torch.tensor([span.start for span in spans[:decodes]], device=device)
        unseen = torch.arange(longest * block_tokens, device=device) > starts[:, None]
        bias = torch.zeros(unseen.shape, device=device).masked_fill_(unseen, -torch.inf)
        on_gpu = device.type == "cuda"
        ragged = RaggedLayout.build(parts, block_tokens, device) if on_gpu else None
        return cls(tuple(spans), decodes, tables, bias[:, None, :], ragged)

    @classmethod
    def of_ragged(cls, ragged: RaggedLayout) -> AttentionBatch:
        """What the kernel needs, and nothing for the reference."""
        nothing = ragged.tables.new_empty(0)
        return cls((), 0, nothing, nothing, ragged)

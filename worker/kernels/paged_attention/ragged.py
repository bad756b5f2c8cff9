"""The ragged batch as the GPU kernel reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_COLUMNS = 8
"""Tables grow by so many: what was recorded for a shape is of use for as long as it stays."""


@dataclass(frozen=True, slots=True)
class RaggedLayout:
    """Nothing here is read by the host: its shapes alone decide the kernel's grid, so a CUDA graph
    may replay it with other contents. A sequence may have no rows."""

    row_starts: Tensor
    """[sequences + 1] int32: the first row of each sequence, then the number of rows."""
    positions: Tensor
    """[sequences] int32: the position of each first row."""
    tables: Tensor
    """[sequences, blocks] int32, padded with the null block."""

    @classmethod
    def build(
        cls,
        parts: Sequence[tuple[int, int, Sequence[int]]],
        block_tokens: int,
        device: torch.device,
    ) -> RaggedLayout:
        """Lay out (start, rows, block table) of each sequence, in the order of their rows."""
        sequences = len(parts)
        held = [-(-(start + rows) // block_tokens) for start, rows, _ in parts]
        columns = -(-max(held, default=0) // _COLUMNS) * _COLUMNS
        tables = np.zeros((sequences, columns), np.int32)
        for table, count, (_, _, blocks) in zip(tables, held, parts, strict=True):
            table[:count] = blocks[:count]
        row_starts = np.zeros(sequences + 1, np.int32)
        np.cumsum([rows for _, rows, _ in parts], out=row_starts[1:])
        positions = np.array([start for start, _, _ in parts], np.int32)
        return cls(*(torch.from_numpy(each).to(device) for each in (row_starts, positions, tables)))

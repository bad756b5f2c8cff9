"""The ragged batch as the GPU kernel reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


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
        held = [blocks[: -(-(start + rows) // block_tokens)] for start, rows, blocks in parts]
        longest = max((len(blocks) for blocks in held), default=0)
        padded = [[*blocks, *(0,) * (longest - len(blocks))] for blocks in held]
        row_starts = [*accumulate((rows for _, rows, _ in parts), initial=0)]
        positions = [start for start, _, _ in parts]
        blocks = torch.tensor(padded, dtype=torch.int32, device=device)
        return cls(
            torch.tensor(row_starts, dtype=torch.int32, device=device),
            torch.tensor(positions, dtype=torch.int32, device=device),
            blocks.view(len(parts), longest),
        )

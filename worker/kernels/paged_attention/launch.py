"""How the attention kernel is launched: rules over shapes that the host knows, no tuning."""

from __future__ import annotations

from dataclasses import dataclass

import torch

FALLBACK_PROCESSORS = 108
"""Of an A100, where no device can be asked."""
WAVES = 2
"""Programs for each multiprocessor below which a batch is split along its keys."""
MOST_SPLITS = 16
LEAST_SPLIT_TOKENS = 256
"""A shorter part costs more in its reduction than it gains."""


@dataclass(frozen=True, slots=True)
class Launch:
    lanes: int
    """Rows of a program's matrix products: query rows times the query heads of a KV head."""
    tile_tokens: int
    """Keys of one step. Does not depend on the page."""
    splits: int
    """Programs that share the keys of a query block; a power of two."""
    query_blocks: int
    """Upper bound of blocks over all sequences: each may end in one that is not full."""

    @classmethod
    def choose(
        cls,
        rows: int,
        sequences: int,
        heads: tuple[int, int],
        width: int,
        longest_tokens: int,
        exact: bool,
        processors: int,
    ) -> Launch:
        """Choose by shapes.

        Args:
            heads: query heads and KV heads.
            width: of a head.
            longest_tokens: what the widest block table can hold.
            exact: one configuration for any batch, and keys in one order: the bits of a row must
                not depend on what is beside it or on how its prompt was chunked.
            processors: multiprocessors of the device.
        """
        group = heads[0] // heads[1]
        least = max(16, _power_of_two(group))
        # Prompts fill a tall tile; a decode would leave it empty.
        lanes = least if exact or rows <= 4 * sequences else max(64, least)
        blocks = rows // (lanes // group) + sequences
        splits = 1
        if not exact:
            while (
                blocks * heads[1] * splits < WAVES * processors
                and splits < MOST_SPLITS
                and longest_tokens >= 2 * splits * LEAST_SPLIT_TOKENS
            ):
                splits *= 2
        return cls(lanes, 64 if width <= 128 else 32, splits, blocks)


def processors_of(device: torch.device) -> int:
    if device.type != "cuda":
        return FALLBACK_PROCESSORS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()

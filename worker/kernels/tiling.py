"""How a matrix product is cut into programs: rules over shapes that the host knows, no tuning.

A product whose tiles are too few for the device cuts its inputs into segments, too (split-K). Each
segment has a sum of its own, and sums are added in their order. So a program that takes all
segments one after the other gives the same bits as a program for each of them, and an exact product
can do either: its tile and its segments follow from the weight's shape alone, only who computes
them follows from the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

PROCESSORS = 132
"""Multiprocessors of an H100. One number for every device: a result then depends on none."""
WAVES = 2
"""Programs for each multiprocessor below which inputs are cut into segments."""
MOST_SEGMENTS = 8
LEAST_SEGMENT_INPUTS = 512
"""A shorter segment costs more in its addition than it gains."""


@dataclass(frozen=True, slots=True)
class Tile:
    """What one program multiplies at a time, and with how many warps and pipeline stages."""

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int


# A decode fills the least tile of a tensor core and streams weights; a prompt reuses them. 64 rows
# are a warp group's on Hopper.
TILES = (
    (16, Tile(16, 64, 128, warps=4, stages=3)),
    (64, Tile(64, 64, 64, warps=4, stages=3)),
)
TALL_TILE = Tile(128, 128, 64, warps=8, stages=3)
EXACT_TILE = Tile(64, 64, 64, warps=4, stages=3)
"""One for decodes and prompts: a decode waits for its weights anyway, and a prompt reads them twice
as often as with its best."""


def tile_of(rows: int, inputs: int, tall: Tile = TALL_TILE) -> Tile:
    """The tile for a product of so many rows. Rows of memory that are not aligned are read element
    by element, and a tall tile has no registers for that."""
    if rows > TILES[-1][0] and inputs % 16 == 0:
        return tall
    return next((tile for most, tile in TILES if rows <= most), TILES[-1][1])


@dataclass(frozen=True, slots=True)
class Tiling:
    tile: Tile
    segments: int
    """Of the inputs; a power of two."""
    programs: int
    """How many of them share a tile's segments: one, or one each."""

    @classmethod
    def choose(
        cls, rows: int, outputs: int, inputs: int, exact: bool = False, tall: Tile = TALL_TILE
    ) -> Tiling:
        """Choose by shapes.

        Args:
            exact: tile and segments must not depend on `rows`.
            tall: the tile of a prompt.
        """
        tile = EXACT_TILE if exact else tile_of(rows, inputs, tall)
        columns = -(-outputs // tile.outputs)
        tiles = columns * -(-rows // tile.rows)
        segments = 1
        while (
            (columns if exact else tiles) * segments < WAVES * PROCESSORS
            and segments < MOST_SEGMENTS
            and inputs >= 2 * segments * LEAST_SEGMENT_INPUTS
        ):
            segments *= 2
        return cls(tile, segments, segments if tiles < WAVES * PROCESSORS else 1)

    def grid(self, rows: int, outputs: int) -> tuple[int, int, int]:
        """Rows first: neighbours then share a weight tile, which the cache holds."""
        return -(-rows // self.tile.rows), -(-outputs // self.tile.outputs), self.programs

"""Which of several runs of rows a program works on, where only the device knows their lengths."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def owner_of(program, ends, groups, tile_rows: tl.constexpr):
    """The group of rows that owns a program, by bisection.

    Group g owns the programs from (its first row) // tile_rows + g on: enough for its tiles, for
    any lengths, below rows // tile_rows + groups of them in all. A group may have fewer tiles than
    programs, none where it is empty.
    """
    low = 1
    high = groups
    while low < high:
        middle = (low + high) // 2
        if tl.load(ends + middle - 1) // tile_rows + middle <= program:
            low = middle + 1
        else:
            high = middle
    return low - 1

"""Products with weights of four bits: a quarter of a decode's bytes, widened in registers.

A step is one group: codes less their zero point are whole numbers, exact in any activation's dtype,
so the tensor cores multiply those, and the scale is applied to the group's fp32 sum.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program
from worker.kernels.int4_linear.packing import GROUPS
from worker.kernels.segments import add_segments
from worker.kernels.tiling import TALL_TILE, TILES, Tile, Tiling

TALL = replace(TALL_TILE, outputs=64, stages=2)
"""Four bits in memory are 16 in registers; and the rows of a whole group are held at once."""


def int4_linear(
    hidden: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor, exact: bool = False
) -> Tensor:
    """See the reference. Exact: tile and segments follow from the weight's shape alone."""
    hidden = hidden.contiguous()
    rows, inputs = hidden.shape
    outputs, groups = scales.shape
    output = hidden.new_empty(rows, outputs)
    if not rows:
        return output
    tiling = Tiling.choose(rows, outputs, inputs, exact, TALL)
    tile, parts = tiling.tile, output
    if tiling.programs > 1:
        parts = output.new_empty(tiling.programs, rows, outputs, dtype=torch.float32)
    _int4_product[tiling.grid(rows, outputs)](
        hidden,
        packed,
        scales,
        zeros,
        parts,
        rows,
        outputs=outputs,
        groups=groups,
        half=inputs // groups // 2,
        tile_rows=tile.rows,
        tile_outputs=tile.outputs,
        segments=tiling.segments,
        programs=tiling.programs,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if tiling.programs > 1:
        add_segments(parts, output, output, output)
    return output


@triton.jit(do_not_specialize=["rows"])
def _int4_product(
    hidden,
    packed,
    scales,
    zeros,
    output,
    rows,
    outputs: tl.constexpr,
    groups: tl.constexpr,
    half: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_outputs: tl.constexpr,
    segments: tl.constexpr,
    programs: tl.constexpr,
):
    """One tile of the output; or of one segment's sums, where each has a program."""
    row = (tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)).to(tl.int64)
    column = (tl.program_id(1) * tile_outputs + tl.arange(0, tile_outputs)).to(tl.int64)
    live = row < rows
    kept = column < outputs
    share: tl.constexpr = (groups + segments - 1) // segments
    total = tl.zeros([tile_rows, tile_outputs], tl.float32)
    for turn in range(segments // programs):
        first = (tl.program_id(2) + turn) * share
        part = tl.zeros([tile_rows, tile_outputs], tl.float32)
        for group in range(first, tl.minimum(first + share, groups)):
            at = group * half + tl.arange(0, half)
            codes = tl.load(
                packed + column[None, :] * (groups * half) + at[:, None],
                mask=kept[None, :],
                other=0,
            ).to(tl.int32)
            place = column * groups + group
            zero = tl.load(zeros + place, mask=kept, other=0).to(tl.int32)[None, :]
            source = hidden + row[:, None] * (2 * groups * half) + (at + group * half)[None, :]
            left = tl.load(source, mask=live[:, None], other=0.0)
            low = ((codes & 15) - zero).to(tl.float32).to(left.dtype)
            sums = tl.dot(left, low, input_precision="ieee")
            left = tl.load(source + half, mask=live[:, None], other=0.0)
            high = ((codes >> 4) - zero).to(tl.float32).to(left.dtype)
            sums = tl.dot(left, high, sums, input_precision="ieee")
            part += sums * tl.load(scales + place, mask=kept, other=0.0).to(tl.float32)[None, :]
        total += part
    here = live[:, None] & kept[None, :]
    place = tl.program_id(2).to(tl.int64) * rows + row
    target = output + place[:, None] * outputs + column[None, :]
    tl.store(target, total.to(output.dtype.element_ty), mask=here)


def programs() -> list[Program]:
    """A decode in segments with the least groups, a prompt with the largest."""
    return [_program(TILES[0][1], 8, 8, GROUPS[0]), _program(TALL, 1, 1, GROUPS[-1])]


def _program(tile: Tile, segments: int, programs: int, group: int) -> Program:
    size = 4096
    return Program(
        _int4_product,
        {
            "hidden": f"*{DTYPE}",
            "packed": "*u8",
            "scales": "*fp32",
            "zeros": "*u8",
            "output": f"*{DTYPE}" if programs == 1 else "*fp32",
            "rows": "i32",
        },
        {
            "outputs": size,
            "groups": size // group,
            "half": group // 2,
            "tile_rows": tile.rows,
            "tile_outputs": tile.outputs,
            "segments": segments,
            "programs": programs,
        },
        tile.warps,
        tile.stages,
    )

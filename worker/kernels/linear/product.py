"""The Triton product of float rows with weights of their dtype, or with e4m3 ones.

It is the exact product of a GPU (a library's picks its order of additions by the number of rows),
and the one that widens weights on their way to the tensor cores.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.coding import E4M3_SHRINK, e4m3_shrunk
from worker.kernels.compilation import DTYPE, Program
from worker.kernels.segments import add_segments
from worker.kernels.tiling import EXACT_TILE, TILES, Tile, Tiling


def product(hidden: Tensor, weight: Tensor, scales: Tensor | None, exact: bool) -> Tensor:
    """y = x Wᵀ, each output times its scale; fp32 sums.

    Args:
        hidden: [rows, inputs].
        weight: [outputs, inputs]: of the same dtype, or the bits of e4m3 as uint8.
        scales: [outputs] fp32.
    """
    hidden = hidden.contiguous()
    rows, inputs = hidden.shape
    outputs = weight.shape[0]
    output = hidden.new_empty(rows, outputs)
    if not rows:
        return output
    tiling = Tiling.choose(rows, outputs, inputs, exact)
    tile, parts = tiling.tile, output
    if tiling.programs > 1:
        parts = output.new_empty(tiling.programs, rows, outputs, dtype=torch.float32)
    factors = output if scales is None else scales
    _product[tiling.grid(rows, outputs)](
        hidden,
        weight,
        factors,
        parts,
        rows,
        outputs=outputs,
        inputs=inputs,
        tile_rows=tile.rows,
        tile_outputs=tile.outputs,
        tile_inputs=tile.inputs,
        segments=tiling.segments,
        programs=tiling.programs,
        coded=weight.dtype == torch.uint8,
        scaled=scales is not None,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if tiling.programs > 1:
        add_segments(parts, output, factors, output)
    return output


@triton.jit(do_not_specialize=["rows"])
def _product(
    hidden,
    weight,
    scales,
    output,
    rows,
    outputs: tl.constexpr,
    inputs: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_outputs: tl.constexpr,
    tile_inputs: tl.constexpr,
    segments: tl.constexpr,
    programs: tl.constexpr,
    coded: tl.constexpr,
    scaled: tl.constexpr,
):
    """One tile of the output; or of one segment's sums, where each has a program."""
    row = (tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)).to(tl.int64)
    column = (tl.program_id(1) * tile_outputs + tl.arange(0, tile_outputs)).to(tl.int64)
    live = row < rows
    kept = column < outputs
    steps: tl.constexpr = (inputs + tile_inputs - 1) // tile_inputs
    share: tl.constexpr = (steps + segments - 1) // segments
    total = tl.zeros([tile_rows, tile_outputs], tl.float32)
    for turn in range(segments // programs):
        first = (tl.program_id(2) + turn) * share
        part = tl.zeros([tile_rows, tile_outputs], tl.float32)
        for step in range(first, tl.minimum(first + share, steps)):
            at = step * tile_inputs + tl.arange(0, tile_inputs)
            inside = at < inputs
            left = tl.load(
                hidden + row[:, None] * inputs + at[None, :],
                mask=live[:, None] & inside[None, :],
                other=0.0,
            )
            right = tl.load(
                weight + column[None, :] * inputs + at[:, None],
                mask=kept[None, :] & inside[:, None],
                other=0,
            )
            if coded:
                right = e4m3_shrunk(right).to(left.dtype)
            part = tl.dot(left, right, part, input_precision="ieee")
        total += part
    if coded:
        total = total * E4M3_SHRINK
    here = live[:, None] & kept[None, :]
    if programs == 1:
        if scaled:
            total = total * tl.load(scales + column, mask=kept, other=0.0)[None, :]
        target = output + row[:, None] * outputs + column[None, :]
        tl.store(target, total.to(output.dtype.element_ty), mask=here)
    else:
        place = tl.program_id(2).to(tl.int64) * rows + row
        tl.store(output + place[:, None] * outputs + column[None, :], total, mask=here)


def programs(coded: bool) -> list[Program]:
    """A decode in segments with coded weights; or an exact prompt, a program for all segments."""
    if coded:
        return [_program(TILES[0][1], 8, 8, 4096, True)]
    return [_program(EXACT_TILE, 4, 1, 2880, False)]


def _program(tile: Tile, segments: int, programs: int, size: int, coded: bool) -> Program:
    return Program(
        _product,
        {
            "hidden": f"*{DTYPE}",
            "weight": "*u8" if coded else f"*{DTYPE}",
            "scales": "*fp32" if coded else f"*{DTYPE}",
            "output": f"*{DTYPE}" if programs == 1 else "*fp32",
            "rows": "i32",
        },
        {
            "outputs": size,
            "inputs": size,
            "tile_rows": tile.rows,
            "tile_outputs": tile.outputs,
            "tile_inputs": tile.inputs,
            "segments": segments,
            "programs": programs,
            "coded": coded,
            "scaled": coded,
        },
        tile.warps,
        tile.stages,
    )

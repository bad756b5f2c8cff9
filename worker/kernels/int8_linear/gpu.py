"""Int8 products on tensor cores: rows are quantised as they come, sums are int32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels import segments
from worker.kernels.coding import INT8_MOST, nearest, scale_of, shrunk
from worker.kernels.compilation import DTYPE, Program
from worker.kernels.tiling import TALL_TILE, TILES, Tiling


def int8_linear(hidden: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """See the reference. Sums of whole numbers have no order: every tiling is exact."""
    hidden = hidden.contiguous()
    rows, inputs = hidden.shape
    outputs = weight.shape[0]
    output = hidden.new_empty(rows, outputs)
    if not rows:
        return output
    codes = torch.empty(rows, inputs, dtype=torch.int8, device=hidden.device)
    row_scales = torch.empty(rows, dtype=torch.float32, device=hidden.device)
    block = triton.next_power_of_2(inputs)
    _quantise_rows[(rows,)](
        hidden, codes, row_scales, inputs=inputs, block=block, num_warps=_warps(block)
    )
    tiling = Tiling.choose(rows, outputs, inputs)
    parts = output
    if tiling.programs > 1:
        parts = output.new_empty(tiling.programs, rows, outputs, dtype=torch.int32)
    tile = tiling.tile
    _int8_product[tiling.grid(rows, outputs)](
        codes,
        weight,
        row_scales,
        scales,
        parts,
        rows,
        outputs=outputs,
        inputs=inputs,
        tile_rows=tile.rows,
        tile_outputs=tile.outputs,
        tile_inputs=INPUTS_TILE,
        segments=tiling.programs,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if tiling.programs > 1:
        segments.add_segments(parts, output, scales, row_scales)
    return output


INPUTS_TILE = 128
"""Bytes of a row at a time: a cache line."""


def _warps(block: int) -> int:
    return min(16, max(1, block // 512))


@triton.jit
def _quantise_rows(hidden, codes, row_scales, inputs: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < inputs
    wide = tl.load(hidden + row * inputs + columns, mask=inside, other=0.0).to(tl.float32)
    scale = scale_of(wide, INT8_MOST)
    tl.store(row_scales + row, scale)
    steps = nearest(shrunk(wide, scale, INT8_MOST))
    tl.store(codes + row * inputs + columns, steps.to(tl.int8), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _int8_product(
    codes,
    weight,
    row_scales,
    scales,
    output,
    rows,
    outputs: tl.constexpr,
    inputs: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_outputs: tl.constexpr,
    tile_inputs: tl.constexpr,
    segments: tl.constexpr,
):
    """One tile of the output, or of the int32 sums of one of several segments."""
    row = (tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)).to(tl.int64)
    column = (tl.program_id(1) * tile_outputs + tl.arange(0, tile_outputs)).to(tl.int64)
    live = row < rows
    kept = column < outputs
    steps: tl.constexpr = (inputs + tile_inputs - 1) // tile_inputs
    share: tl.constexpr = (steps + segments - 1) // segments
    first = tl.program_id(2) * share
    total = tl.zeros([tile_rows, tile_outputs], tl.int32)
    for step in range(first, tl.minimum(first + share, steps)):
        at = step * tile_inputs + tl.arange(0, tile_inputs)
        inside = at < inputs
        left = tl.load(
            codes + row[:, None] * inputs + at[None, :],
            mask=live[:, None] & inside[None, :],
            other=0,
        )
        right = tl.load(
            weight + column[None, :] * inputs + at[:, None],
            mask=kept[None, :] & inside[:, None],
            other=0,
        )
        total = tl.dot(left, right, total, out_dtype=tl.int32)
    here = live[:, None] & kept[None, :]
    if segments == 1:
        result = total.to(tl.float32) * tl.load(row_scales + row, mask=live, other=0.0)[:, None]
        result = result * tl.load(scales + column, mask=kept, other=0.0)[None, :]
        target = output + row[:, None] * outputs + column[None, :]
        tl.store(target, result.to(output.dtype.element_ty), mask=here)
    else:
        place = tl.program_id(2).to(tl.int64) * rows + row
        tl.store(output + place[:, None] * outputs + column[None, :], total, mask=here)


def programs() -> list[Program]:
    """The rows, a decode in segments and a prompt."""
    shapes = [
        (TILES[0][1], 8, 4096, "*i32"),
        (TALL_TILE, 1, 4096, f"*{DTYPE}"),
    ]
    products = [
        Program(
            _int8_product,
            {
                **dict.fromkeys(("codes", "weight"), "*i8"),
                **dict.fromkeys(("row_scales", "scales"), "*fp32"),
                "output": output,
                "rows": "i32",
            },
            {
                "outputs": size,
                "inputs": size,
                "tile_rows": tile.rows,
                "tile_outputs": tile.outputs,
                "tile_inputs": INPUTS_TILE,
                "segments": count,
            },
            tile.warps,
            tile.stages,
        )
        for tile, count, size, output in shapes
    ]
    block = 4096
    quantise = Program(
        _quantise_rows,
        {"hidden": f"*{DTYPE}", "codes": "*i8", "row_scales": "*fp32"},
        {"inputs": block, "block": block},
        _warps(block),
    )
    return [quantise, *products, *segments.programs()]

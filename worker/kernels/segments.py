"""Adds the segments of a product that was cut along its inputs, in their order."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program

TILE_OUTPUTS = 256


def add_segments(parts: Tensor, output: Tensor, scales: Tensor, row_scales: Tensor) -> None:
    """Write the scaled sum into `output`.

    Args:
        parts: [segments, rows, outputs], fp32 or int32.
        output: [rows, outputs].
        scales: [outputs] fp32; `output` itself where there are none.
        row_scales: [rows] fp32; `output` itself where there are none.
    """
    segments, rows, outputs = parts.shape
    _add_segments[(rows, triton.cdiv(outputs, TILE_OUTPUTS))](
        parts,
        scales,
        row_scales,
        output,
        outputs=outputs,
        segments=segments,
        tile=TILE_OUTPUTS,
        scaled=scales is not output,
        row_scaled=row_scales is not output,
        num_warps=2,
    )


@triton.jit
def _add_segments(
    parts,
    scales,
    row_scales,
    output,
    outputs: tl.constexpr,
    segments: tl.constexpr,
    tile: tl.constexpr,
    scaled: tl.constexpr,
    row_scaled: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * tile + tl.arange(0, tile)
    inside = columns < outputs
    total = tl.load(parts + row * outputs + columns, mask=inside, other=0)
    for _ in tl.static_range(segments - 1):
        row += tl.num_programs(0)
        total += tl.load(parts + row * outputs + columns, mask=inside, other=0)
    result = total.to(tl.float32)
    row = tl.program_id(0).to(tl.int64)
    if row_scaled:
        result = result * tl.load(row_scales + row)
    if scaled:
        result = result * tl.load(scales + columns, mask=inside, other=0.0)
    tl.store(output + row * outputs + columns, result.to(output.dtype.element_ty), mask=inside)


def programs() -> list[Program]:
    """The sums of an int8 product and of a plain one."""
    return [
        Program(
            _add_segments,
            {
                "parts": "*i32" if whole else "*fp32",
                "scales": "*fp32",
                "row_scales": "*fp32",
                "output": f"*{DTYPE}",
            },
            {
                "outputs": 4096,
                "segments": 8,
                "tile": TILE_OUTPUTS,
                "scaled": whole,
                "row_scaled": whole,
            },
            warps=2,
        )
        for whole in (True, False)
    ]

"""Adapters of a mixed batch in two launches: shrink to the rank, then expand.

Punica and S-LoRA have one kernel for rows of many adapters (BGMV) and one for runs of rows of the
same (SGMV). Here a program takes 16 neighbouring rows and goes through the adapters it finds among
them: one in a prompt, up to 16 in a decode, each a product on tensor cores. Nothing is sorted and
nothing is read by the host. A row takes the result of its own adapter's turn, and tiles depend on
the weights' shapes alone: exact as it is.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program
from worker.kernels.lora.reference import check_rank

TILE_ROWS = 16
TILE_INPUTS = 128
TILE_OUTPUTS = 128
SEGMENT_INPUTS = 1024
"""Of a shrink, whose output is too narrow to fill a device."""


def lora_shrink_expand(
    hidden: Tensor,
    a: Tensor,
    b: Tensor,
    adapter_of_row: Tensor,
    scales: Tensor,
    exact: bool = False,  # noqa: ARG001
) -> Tensor:
    """See the reference."""
    check_rank(a)
    hidden = hidden.contiguous()
    rows, inputs = hidden.shape
    _, outputs, rank = b.shape
    output = hidden.new_empty(rows, outputs)
    if not rows:
        return output
    adapters = len(scales)
    padded = max(16, triton.next_power_of_2(rank))
    segments = triton.cdiv(inputs, SEGMENT_INPUTS)
    parts = hidden.new_empty(segments, rows, padded, dtype=torch.float32)
    tiles = triton.cdiv(rows, TILE_ROWS)
    _shrink[(tiles, segments)](
        hidden,
        a,
        adapter_of_row,
        parts,
        rows,
        adapters,
        inputs=inputs,
        rank=rank,
        padded=padded,
        segment_inputs=SEGMENT_INPUTS,
        tile_rows=TILE_ROWS,
        tile_inputs=TILE_INPUTS,
    )
    _expand[(tiles, triton.cdiv(outputs, TILE_OUTPUTS))](
        parts,
        b,
        adapter_of_row,
        scales,
        output,
        rows,
        adapters,
        outputs=outputs,
        rank=rank,
        padded=padded,
        segments=segments,
        tile_rows=TILE_ROWS,
        tile_outputs=TILE_OUTPUTS,
    )
    return output


@triton.jit
def _next_adapter(owners, current, adapters):
    """The least adapter above `current` among a tile's rows; `adapters` where there is none."""
    return tl.min(tl.where(owners > current, owners, adapters), axis=0)


@triton.jit(do_not_specialize=["rows", "adapters"])
def _shrink(
    hidden,
    a,
    adapter_of_row,
    parts,
    rows,
    adapters,
    inputs: tl.constexpr,
    rank: tl.constexpr,
    padded: tl.constexpr,
    segment_inputs: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_inputs: tl.constexpr,
):
    """The products of a tile of rows with one segment of their adapters' A."""
    row = (tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)).to(tl.int64)
    live = row < rows
    owners = tl.load(adapter_of_row + row, mask=live, other=-1).to(tl.int32)
    places = tl.arange(0, padded)
    kept = places < rank
    first = tl.program_id(1) * segment_inputs
    result = tl.zeros([tile_rows, padded], tl.float32)
    current = _next_adapter(owners, -1, adapters)
    while current < adapters:
        weight = a + tl.cast(current, tl.int64) * rank * inputs
        total = tl.zeros([tile_rows, padded], tl.float32)
        for start in range(first, tl.minimum(first + segment_inputs, inputs), tile_inputs):
            at = start + tl.arange(0, tile_inputs)
            inside = at < inputs
            left = tl.load(
                hidden + row[:, None] * inputs + at[None, :],
                mask=live[:, None] & inside[None, :],
                other=0.0,
            )
            right = tl.load(
                weight + places[None, :] * inputs + at[:, None],
                mask=kept[None, :] & inside[:, None],
                other=0.0,
            )
            total = tl.dot(left, right, total, input_precision="ieee")
        result = tl.where((owners == current)[:, None], total, result)
        current = _next_adapter(owners, current, adapters)
    target = parts + (tl.program_id(1).to(tl.int64) * rows + row)[:, None] * padded
    tl.store(target + places[None, :], result, mask=live[:, None])


@triton.jit(do_not_specialize=["rows", "adapters"])
def _expand(
    parts,
    b,
    adapter_of_row,
    scales,
    output,
    rows,
    adapters,
    outputs: tl.constexpr,
    rank: tl.constexpr,
    padded: tl.constexpr,
    segments: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_outputs: tl.constexpr,
):
    """The products of a tile of narrow rows with a tile of their adapters' B."""
    row = (tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)).to(tl.int64)
    column = (tl.program_id(1) * tile_outputs + tl.arange(0, tile_outputs)).to(tl.int64)
    live = row < rows
    kept = column < outputs
    owners = tl.load(adapter_of_row + row, mask=live, other=-1).to(tl.int32)
    places = tl.arange(0, padded)
    narrow = tl.zeros([tile_rows, padded], tl.float32)
    for segment in range(segments):
        source = parts + (tl.cast(segment, tl.int64) * rows + row)[:, None] * padded
        narrow += tl.load(source + places[None, :], mask=live[:, None], other=0.0)
    left = narrow.to(output.dtype.element_ty)
    result = tl.zeros([tile_rows, tile_outputs], tl.float32)
    current = _next_adapter(owners, -1, adapters)
    while current < adapters:
        right = tl.load(
            b + (tl.cast(current, tl.int64) * outputs + column)[None, :] * rank + places[:, None],
            mask=kept[None, :] & (places < rank)[:, None],
            other=0.0,
        )
        added = tl.dot(left, right, input_precision="ieee") * tl.load(scales + current)
        result = tl.where((owners == current)[:, None], added, result)
        current = _next_adapter(owners, current, adapters)
    tl.store(
        output + row[:, None] * outputs + column[None, :],
        result.to(output.dtype.element_ty),
        mask=live[:, None] & kept[None, :],
    )


def programs() -> list[Program]:
    """Llama 3's widths and a rank that is no power of two."""
    sizes = {"rank": 40, "padded": 64, "tile_rows": TILE_ROWS}
    owners = {"adapter_of_row": "*i64", "rows": "i32", "adapters": "i32", "parts": "*fp32"}
    return [
        Program(
            _shrink,
            {"hidden": f"*{DTYPE}", "a": f"*{DTYPE}", **owners},
            {
                **sizes,
                "inputs": 4096,
                "segment_inputs": SEGMENT_INPUTS,
                "tile_inputs": TILE_INPUTS,
            },
        ),
        Program(
            _expand,
            {"b": f"*{DTYPE}", "output": f"*{DTYPE}", "scales": "*fp32", **owners},
            {**sizes, "outputs": 4096, "segments": 4, "tile_outputs": TILE_OUTPUTS},
        ),
    ]

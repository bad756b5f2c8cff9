"""Products of a mixture of experts: each program finds the group that owns its rows.

The grid is an upper bound over shapes, so the host does not wait for the router, and a CUDA graph
may replay it.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program
from worker.kernels.ownership import owner_of
from worker.kernels.tiling import EXACT_TILE, TALL_TILE, tile_of


def grouped_linear(hidden: Tensor, weights: Tensor, ends: Tensor, exact: bool = False) -> Tensor:
    """See the reference. Exact: one tile for any number of rows, inputs in one order."""
    hidden = hidden.contiguous()
    rows, inputs = hidden.shape
    groups, outputs, _ = weights.shape
    output = hidden.new_empty(rows, outputs)
    if not rows:
        return output
    tile = EXACT_TILE if exact else tile_of(-(-rows // groups), inputs)
    _grouped_product[(rows // tile.rows + groups, triton.cdiv(outputs, tile.outputs))](
        hidden,
        weights,
        ends,
        output,
        groups,
        outputs=outputs,
        inputs=inputs,
        tile_rows=tile.rows,
        tile_outputs=tile.outputs,
        tile_inputs=tile.inputs,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return output


@triton.jit(do_not_specialize=["groups"])
def _grouped_product(
    hidden,
    weights,
    ends,
    output,
    groups,
    outputs: tl.constexpr,
    inputs: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_outputs: tl.constexpr,
    tile_inputs: tl.constexpr,
):
    """Up to `tile_rows` rows of one group, one tile of its outputs."""
    program = tl.program_id(0)
    group = owner_of(program, ends, groups, tile_rows)
    first_row = tl.load(ends + group - 1, mask=group > 0, other=0)
    end = tl.load(ends + group)
    begin = first_row + (program - first_row // tile_rows - group) * tile_rows
    if begin >= end:
        return
    row = (begin + tl.arange(0, tile_rows)).to(tl.int64)
    column = (tl.program_id(1) * tile_outputs + tl.arange(0, tile_outputs)).to(tl.int64)
    live = row < end
    kept = column < outputs
    weight = weights + tl.cast(group, tl.int64) * outputs * inputs
    total = tl.zeros([tile_rows, tile_outputs], tl.float32)
    for start in range(0, inputs, tile_inputs):
        at = start + tl.arange(0, tile_inputs)
        inside = at < inputs
        left = tl.load(
            hidden + row[:, None] * inputs + at[None, :],
            mask=live[:, None] & inside[None, :],
            other=0.0,
        )
        right = tl.load(
            weight + column[None, :] * inputs + at[:, None],
            mask=kept[None, :] & inside[:, None],
            other=0.0,
        )
        total = tl.dot(left, right, total, input_precision="ieee")
    tl.store(
        output + row[:, None] * outputs + column[None, :],
        total.to(output.dtype.element_ty),
        mask=live[:, None] & kept[None, :],
    )


def programs() -> list[Program]:
    """Mixtral's up-projection of a prompt."""
    tile = TALL_TILE
    tensors = dict.fromkeys(("hidden", "weights", "output"), f"*{DTYPE}")
    return [
        Program(
            _grouped_product,
            {**tensors, "ends": "*i64", "groups": "i32"},
            {
                "outputs": 28672,
                "inputs": 4096,
                "tile_rows": tile.rows,
                "tile_outputs": tile.outputs,
                "tile_inputs": tile.inputs,
            },
            tile.warps,
            tile.stages,
        )
    ]

"""Gated activations: elementwise, so a program is a tile of columns of one row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program

TILE_COLUMNS = 1024


def swiglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:  # noqa: ARG001
    """See the reference. Each element is computed the same way anywhere: exact as it is."""
    return _gated(gate_and_up, gelu=False)


def geglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:  # noqa: ARG001
    """See the reference. Exact as it is."""
    return _gated(gate_and_up, gelu=True)


def _gated(gate_and_up: Tensor, gelu: bool) -> Tensor:
    gate_and_up = gate_and_up.contiguous()
    rows, both = gate_and_up.shape
    width = both // 2
    output = torch.empty(rows, width, dtype=gate_and_up.dtype, device=gate_and_up.device)
    if rows:
        grid = (rows, triton.cdiv(width, TILE_COLUMNS))
        _gated_tile[grid](gate_and_up, output, width=width, tile=TILE_COLUMNS, gelu=gelu)
    return output


@triton.jit
def _gated_tile(gate_and_up, output, width: tl.constexpr, tile: tl.constexpr, gelu: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * tile + tl.arange(0, tile)
    inside = columns < width
    source = gate_and_up + row * 2 * width + columns
    gate = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(source + width, mask=inside, other=0.0).to(tl.float32)
    if gelu:
        # (1 + tanh(z)) / 2 is the logistic function of 2 z: no tanh of a library is needed.
        bent = 1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)
        active = gate / (1.0 + tl.exp(-bent))
    else:
        active = gate / (1.0 + tl.exp(-gate))
    rounded = active.to(output.dtype.element_ty).to(tl.float32)
    tl.store(
        output + row * width + columns, (rounded * up).to(output.dtype.element_ty), mask=inside
    )


def programs() -> list[Program]:
    """Both activations."""
    return [
        Program(
            _gated_tile,
            dict.fromkeys(("gate_and_up", "output"), f"*{DTYPE}"),
            {"width": 14336, "tile": TILE_COLUMNS, "gelu": gelu},
        )
        for gelu in (False, True)
    ]

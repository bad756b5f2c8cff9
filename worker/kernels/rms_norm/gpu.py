"""RMSNorm fused with the residual addition: one program a row, one pass over memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program


def rms_norm(
    hidden: Tensor,
    weight: Tensor,
    epsilon: float,
    residual: Tensor | None = None,
    shift: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """See the reference. A row is one program's, so its bits do not depend on other rows."""
    hidden = hidden.contiguous()
    width = hidden.shape[-1]
    rows = hidden.numel() // width
    output = torch.empty_like(hidden)
    total = hidden if residual is None else torch.empty_like(hidden)
    added = hidden if residual is None else residual.contiguous()
    if rows:
        block = triton.next_power_of_2(width)
        _rms_norm[(rows,)](
            hidden,
            added,
            weight,
            output,
            total,
            epsilon,
            shift,
            width=width,
            block=block,
            adds=residual is not None,
            shifts=shift != 0,
            num_warps=_warps(block),
        )
    return output, total


def _warps(block: int) -> int:
    return min(16, max(1, block // 512))


@triton.jit
def _rms_norm(
    hidden,
    residual,
    weight,
    output,
    total,
    epsilon,
    shift,
    width: tl.constexpr,
    block: tl.constexpr,
    adds: tl.constexpr,
    shifts: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * width
    columns = tl.arange(0, block)
    inside = columns < width
    wide = tl.load(hidden + first + columns, mask=inside, other=0.0).to(tl.float32)
    if adds:
        wide += tl.load(residual + first + columns, mask=inside, other=0.0).to(tl.float32)
        # The next layer sees the rounded sum, so the statistics must be of the rounded sum.
        rounded = wide.to(total.dtype.element_ty)
        tl.store(total + first + columns, rounded, mask=inside)
        wide = rounded.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(wide * wide, axis=0) / width + epsilon)
    gain = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    normal = wide * scale
    if shifts:
        gain += shift
    else:
        normal = normal.to(output.dtype.element_ty).to(tl.float32)
    tl.store(output + first + columns, (normal * gain).to(output.dtype.element_ty), mask=inside)


def programs() -> list[Program]:
    """Llama 3's, and one that shifts its weight at a width that is no power of two."""
    return [
        Program(
            _rms_norm,
            {
                **dict.fromkeys(("hidden", "residual", "weight", "output", "total"), f"*{DTYPE}"),
                **dict.fromkeys(("epsilon", "shift"), "fp32"),
            },
            {
                "width": width,
                "block": triton.next_power_of_2(width),
                "adds": adds,
                "shifts": not adds,
            },
            _warps(triton.next_power_of_2(width)),
        )
        for width, adds in ((576, False), (4096, True))
    ]

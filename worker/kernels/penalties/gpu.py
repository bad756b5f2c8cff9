"""All penalties of a row in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import Program
from worker.kernels.penalties.reference import Penalty
from worker.kernels.upload import upload

TILE_TOKENS = 1024


def penalize(
    logits: Tensor,
    rows: Sequence[int],
    counts: Tensor,
    in_prompt: Tensor,
    penalties: Sequence[Penalty],
) -> None:
    """See the reference. Nothing here waits for the device."""
    if not rows:
        return
    vocabulary, device = logits.shape[1], logits.device
    settings = [(each.repetition, each.frequency, each.presence) for each in penalties]
    _penalize[(len(rows), triton.cdiv(vocabulary, TILE_TOKENS))](
        logits,
        upload(rows, torch.int32, device),
        counts,
        in_prompt.view(torch.uint8),
        upload(settings, torch.float32, device),
        logits.stride(0),
        vocabulary=vocabulary,
        tile=TILE_TOKENS,
    )


@triton.jit(do_not_specialize=["row_stride"])
def _penalize(
    logits,
    rows,
    counts,
    in_prompt,
    settings,
    row_stride,
    vocabulary: tl.constexpr,
    tile: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * tile + tl.arange(0, tile)
    inside = columns < vocabulary
    target = logits + tl.load(rows + index).to(tl.int64) * row_stride + columns
    value = tl.load(target, mask=inside, other=0.0)
    count = tl.load(counts + index * vocabulary + columns, mask=inside, other=0)
    prompt = tl.load(in_prompt + index * vocabulary + columns, mask=inside, other=0)
    repetition = tl.load(settings + index * 3)
    repeated = tl.where(value > 0, value / repetition, value * repetition)
    value = tl.where((count > 0) | (prompt != 0), repeated, value)
    value -= tl.load(settings + index * 3 + 1) * count.to(tl.float32)
    value -= tl.where(count > 0, tl.load(settings + index * 3 + 2), 0.0)
    tl.store(target, value, mask=inside)


def programs() -> list[Program]:
    """Llama 3's vocabulary."""
    types = {
        "logits": "*fp32",
        "rows": "*i32",
        "counts": "*i32",
        "in_prompt": "*u8",
        "settings": "*fp32",
        "row_stride": "i64",
    }
    return [Program(_penalize, types, {"vocabulary": 128256, "tile": TILE_TOKENS})]

"""Masks on the device: one pass, each word of a mask read once a tile."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import Program
from worker.kernels.sampling import draw

TILE_TOKENS = 1024
FORBIDDEN = tl.constexpr(draw.FORBIDDEN)


def apply_mask(logits: Tensor, mask: Tensor) -> None:
    """See the reference. Nothing here waits for the device."""
    rows, vocabulary = logits.shape
    if not rows:
        return
    _apply_mask[(rows, triton.cdiv(vocabulary, TILE_TOKENS))](
        logits,
        mask,
        logits.stride(0),
        mask.stride(0),
        vocabulary=vocabulary,
        tile=TILE_TOKENS,
    )


@triton.jit(do_not_specialize=["row_stride", "mask_stride"])
def _apply_mask(
    logits, mask, row_stride, mask_stride, vocabulary: tl.constexpr, tile: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * tile + tl.arange(0, tile)
    inside = columns < vocabulary
    words = tl.load(mask + row * mask_stride + columns // 32, mask=inside, other=-1)
    forbidden = inside & (((words >> (columns % 32)) & 1) == 0)
    target = logits + row * row_stride + columns
    value = tl.load(target, mask=forbidden, other=float("nan"))
    finite = tl.abs(value) < float("inf")
    tl.store(target, FORBIDDEN, mask=forbidden & finite)


def programs() -> list[Program]:
    """Llama 3's vocabulary."""
    types = {"logits": "*fp32", "mask": "*i32", "row_stride": "i64", "mask_stride": "i64"}
    return [Program(_apply_mask, types, {"vocabulary": 128256, "tile": TILE_TOKENS})]

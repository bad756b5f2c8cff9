"""Ragged paged attention on a GPU: one kernel for prefill, chunked prefill and decode."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program
from worker.kernels.kv_coding import KvScales, as_codes
from worker.kernels.paged_attention.attend import attend, join_splits
from worker.kernels.paged_attention.batch import AttentionBatch
from worker.kernels.paged_attention.launch import Launch, processors_of

STAGES = 2


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    batch: AttentionBatch,
    exact: bool = False,
    *,
    scale: float | None = None,
    window: int = 0,
    soft_cap: float = 0.0,
    scales: KvScales | None = None,
) -> Tensor:
    """See the reference.

    Exact: keys are taken in one order, in tiles that start at multiples of the tile, and what a row
    does not see adds a zero to it.
    """
    ragged = batch.ragged
    rows, heads, width = query.shape
    kv_heads, _, block_tokens, _ = key_cache.shape
    sequences, table_blocks = ragged.tables.shape
    output = torch.empty(rows, heads, width, dtype=query.dtype, device=query.device)
    if not rows:
        return output
    launch = Launch.choose(
        rows,
        sequences,
        (heads, kv_heads),
        width,
        table_blocks * block_tokens,
        exact,
        processors_of(query.device),
    )
    query = query if query.stride()[1:] == (width, 1) else query.contiguous()
    padded = triton.next_power_of_2(width)
    key_cache, value_cache, code = as_codes(key_cache, value_cache, scales)
    key_scales, value_scales = scales or (output, output)
    # Where keys are not split, the kernel writes its output and never touches the parts.
    parts = maxima = sums = output
    if launch.splits > 1:
        parts = output.new_empty(rows, heads, launch.splits, padded, dtype=torch.float32)
        maxima, sums = output.new_empty(2, rows, heads, launch.splits, dtype=torch.float32)
    attend[(launch.query_blocks, kv_heads, launch.splits)](
        query,
        key_cache,
        value_cache,
        key_scales,
        value_scales,
        ragged.row_starts,
        ragged.positions,
        ragged.tables,
        output,
        parts,
        maxima,
        sums,
        query.stride(0),
        key_cache.stride(0),
        value_cache.stride(0),
        key_scales.stride(0),
        table_blocks,
        sequences,
        width**-0.5 if scale is None else scale,
        soft_cap,
        group=heads // kv_heads,
        block_tokens=block_tokens,
        width=width,
        padded=padded,
        lanes=launch.lanes,
        tile=launch.tile_tokens,
        splits=launch.splits,
        window=window,
        capped=soft_cap > 0,
        code=code,
        num_stages=STAGES,
    )
    if launch.splits > 1:
        join_splits[(rows, heads)](
            parts, maxima, sums, output, width=width, padded=padded, splits=launch.splits
        )
    return output


def programs() -> list[Program]:
    """Prefill and decode of Llama 3, as it is and coded; a group of three; Gemma's window, and a
    soft-cap."""
    activations = ("query", "key_cache", "value_cache", "output")
    tensors = {
        **dict.fromkeys(activations, f"*{DTYPE}"),
        **dict.fromkeys(("key_scales", "value_scales"), "*fp32"),
        **dict.fromkeys(("row_starts", "positions", "tables"), "*i32"),
        **dict.fromkeys(("parts", "maxima", "sums"), "*fp32"),
        **dict.fromkeys(("query_stride", "key_stride", "value_stride", "scale_stride"), "i64"),
        **dict.fromkeys(("table_stride", "sequences"), "i32"),
        **dict.fromkeys(("scale", "soft_cap"), "fp32"),
    }
    shapes: list[dict[str, Any]] = [
        {"group": 4, "width": 128, "lanes": 64, "tile": 64, "splits": 1},
        {"group": 4, "width": 128, "lanes": 16, "tile": 64, "splits": 8},
        {"group": 3, "width": 80, "lanes": 16, "tile": 64, "splits": 1},
        {"group": 2, "width": 256, "lanes": 64, "tile": 32, "splits": 1, "window": 512},
        {"group": 4, "width": 128, "lanes": 16, "tile": 64, "splits": 8, "code": "int8"},
        {"group": 4, "width": 128, "lanes": 16, "tile": 64, "splits": 1, "code": "e4m3"},
    ]
    parts = {name: tensors[name] for name in ("parts", "maxima", "sums", "output")}
    join = Program(join_splits, parts, {"width": 80, "padded": 128, "splits": 8})
    return [*(_attention(tensors, shape) for shape in shapes), join]


def _attention(tensors: dict[str, str], shape: dict[str, Any]) -> Program:
    held = {"": DTYPE, "int8": "i8", "e4m3": "u8"}[shape.get("code", "")]
    return Program(
        attend,
        tensors | dict.fromkeys(("key_cache", "value_cache"), f"*{held}"),
        {
            "block_tokens": 16,
            "padded": triton.next_power_of_2(shape["width"]),
            "window": 0,
            "capped": "window" in shape,
            "code": "",
            **shape,
        },
        stages=STAGES,
    )

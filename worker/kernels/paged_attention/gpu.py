"""Ragged paged attention on a GPU: one kernel for prefill, chunked prefill and decode."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from worker.kernels.compilation import DTYPE, Program
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
) -> Tensor:
    """See the reference; `batch.ragged` must be there.

    Exact: keys are taken in one order, in tiles that start at multiples of the tile, and what a row
    does not see adds a zero to it.
    """
    ragged = batch.ragged
    if ragged is None:
        raise ValueError("the batch has no ragged layout: build it with the device of its tensors")
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
    # Where keys are not split, the kernel writes its output and never touches the parts.
    parts = maxima = sums = output
    if launch.splits > 1:
        parts = output.new_empty(rows, heads, launch.splits, padded, dtype=torch.float32)
        maxima, sums = output.new_empty(2, rows, heads, launch.splits, dtype=torch.float32)
    attend[(launch.query_blocks, kv_heads, launch.splits)](
        query,
        key_cache,
        value_cache,
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
        num_stages=STAGES,
    )
    if launch.splits > 1:
        join_splits[(rows, heads)](
            parts, maxima, sums, output, width=width, padded=padded, splits=launch.splits
        )
    return output


def programs() -> list[Program]:
    """Prefill and a split decode of Llama 3, a group of three, and Gemma's window and soft-cap."""
    activations = ("query", "key_cache", "value_cache", "output")
    tensors = {
        **dict.fromkeys(activations, f"*{DTYPE}"),
        **dict.fromkeys(("row_starts", "positions", "tables"), "*i32"),
        **dict.fromkeys(("parts", "maxima", "sums"), "*fp32"),
        **dict.fromkeys(("query_stride", "key_stride", "value_stride"), "i64"),
        **dict.fromkeys(("table_stride", "sequences"), "i32"),
        **dict.fromkeys(("scale", "soft_cap"), "fp32"),
    }
    shapes = [
        {"group": 4, "width": 128, "lanes": 64, "tile": 64, "splits": 1},
        {"group": 4, "width": 128, "lanes": 16, "tile": 64, "splits": 8},
        {"group": 3, "width": 80, "lanes": 16, "tile": 64, "splits": 1},
        {"group": 2, "width": 256, "lanes": 64, "tile": 32, "splits": 1, "window": 512},
    ]
    variants = [
        Program(
            attend,
            tensors,
            {
                "block_tokens": 16,
                "padded": triton.next_power_of_2(shape["width"]),
                "window": 0,
                "capped": "window" in shape,
                **shape,
            },
            stages=STAGES,
        )
        for shape in shapes
    ]
    parts = {name: tensors[name] for name in ("parts", "maxima", "sums", "output")}
    return [*variants, Program(join_splits, parts, {"width": 80, "padded": 128, "splits": 8})]

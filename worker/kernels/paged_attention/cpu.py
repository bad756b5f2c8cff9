"""Attention over pages: one task for a tile of rows and a KV head, with an online softmax over
blocks of keys (FlashAttention-2, Dao, 2023).

Blocks of keys begin at multiples of their size, and a row meets its own keys alone. So its bits
depend on its query, its position and its keys: not on batch, chunk, tile or the size of a page.
"""

from __future__ import annotations

from torch import Tensor

from worker.kernels.kv_coding import KvScales
from worker.kernels.native.team import contiguous, empty, float_bits
from worker.kernels.native.toolchain import multiplies
from worker.kernels.paged_attention import reference
from worker.kernels.paged_attention.batch import AttentionBatch
from worker.kernels.paged_attention.tiles import attention_task


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
    """See the reference; each row is exact in any case."""
    kinds = {query.dtype, key_cache.dtype, value_cache.dtype}
    if scales is not None or len(kinds) > 1 or not multiplies(query.dtype) or query.shape[-1] % 2:
        return reference.paged_attention(
            query,
            key_cache,
            value_cache,
            batch,
            exact,
            scale=scale,
            window=window,
            soft_cap=soft_cap,
            scales=scales,
        )
    query = contiguous(query)
    output = empty(query.shape, query.dtype)
    kv_heads, _, block_tokens, width = key_cache.shape
    tables, tiles = batch.ragged.tables, batch.tiles
    attention_task(query.dtype).run(
        tiles.shape[0] * kv_heads,
        *(kv_heads, query.shape[1] // kv_heads, width, block_tokens, tables.shape[1]),
        *(query.data_ptr(), output.data_ptr(), key_cache.data_ptr(), value_cache.data_ptr()),
        *(key_cache.stride(0), value_cache.stride(0), tiles.data_ptr(), tables.data_ptr(), window),
        *(float_bits(soft_cap), float_bits(width**-0.5 if scale is None else scale)),
        query.element_size(),
    )
    return output

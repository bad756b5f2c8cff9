"""Grouped-query attention over a paged KV cache, for prefill chunks and decodes in one batch.

Query heads of one KV head are packed into the rows of one matrix product: on a CPU that is several
times faster than repeating the keys or `scaled_dot_product_attention(enable_gqa=True)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from worker.kernels.kv_coding import KvScales, decode
from worker.kernels.paged_attention.batch import AttentionBatch, Span

PREFILL_TILE_ROWS = 128
"""Bounds the scores of a long chunk over a long context."""


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
    """Causal attention of each row over the cached keys of its own sequence; fp32 inside.

    Args:
        query: [rows, query heads, head width], rotated.
        key_cache, value_cache: [kv heads, blocks, block_tokens, head width]; the rows' own keys
            are already in it.
        exact: each row is a computation of its own over exactly its own keys.
        scale: what multiplies the scores; head width ** -0.5 where None.
        window: how many positions a row sees, its own included; 0 is all of them.
        scales: of caches of 8 bits; see `kv_coding`.
        soft_cap: bounds scores to (-soft_cap, soft_cap) by tanh (Gemma 2); 0 leaves them.

    Returns:
        [rows, query heads, head width], in the dtype of `query`.
    """
    wide = query.float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    rule = _Rule(window, soft_cap)
    key_scales, value_scales = scales or (None, None)
    keys_of = partial(_gather, key_cache, key_scales)
    values_of = partial(_gather, value_cache, value_scales)
    output = torch.empty_like(wide)
    if not exact and batch.decodes:
        table = batch.decode_tables.flatten()
        keys, values = keys_of(table), values_of(table)
        output[: batch.decodes] = _decode(wide[: batch.decodes], keys, values, batch, rule)
    for span in batch.spans[0 if exact else batch.decodes :]:
        keys, values = keys_of(span.table), values_of(span.table)
        rows = slice(span.first_row, span.first_row + span.rows)
        attend = _attend_exactly if exact else _attend
        output[rows] = attend(wide[rows], keys, values, span, rule)
    return output.to(query.dtype)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which keys a row sees, and how their scores are bounded."""

    window: int
    soft_cap: float

    def first_seen(self, position: int) -> int:
        return max(0, position + 1 - self.window) if self.window else 0

    def unseen(self, keys: Tensor, rows: Tensor) -> Tensor:
        """Positions of keys against those of rows: [rows, keys] bool."""
        later = keys > rows[:, None]
        return later | (keys <= rows[:, None] - self.window) if self.window else later

    def capped(self, scores: Tensor) -> Tensor:
        return self.soft_cap * (scores / self.soft_cap).tanh() if self.soft_cap else scores


def _gather(cache: Tensor, scales: Tensor | None, table: Tensor) -> Tensor:
    """[kv heads, blocks x block_tokens, head width] fp32."""
    gathered = cache.index_select(1, table).flatten(1, 2)
    if scales is None:
        return gathered.float()
    return decode(gathered, scales.index_select(1, table).flatten(1, 2))


def _decode(
    query: Tensor, keys: Tensor, values: Tensor, batch: AttentionBatch, rule: _Rule
) -> Tensor:
    """All one-row spans at once, padded to the longest."""
    kv_heads, _, width = keys.shape
    count = query.shape[0]
    keys, values = (each.view(kv_heads, count, -1, width) for each in (keys, values))
    packed = query.view(count, kv_heads, -1, width).transpose(0, 1).contiguous()
    scores = rule.capped(torch.matmul(packed, keys.transpose(-1, -2))) + batch.decode_bias
    if rule.window:
        positions = torch.arange(keys.shape[2], device=query.device)
        starts = [span.start for span in batch.spans[:count]]
        unseen = rule.unseen(positions, torch.tensor(starts, device=query.device))
        scores = scores.masked_fill(unseen[:, None, :], -torch.inf)
    mixed = torch.matmul(scores.softmax(dim=-1), values)
    return mixed.transpose(0, 1).reshape(query.shape)


def _attend(query: Tensor, keys: Tensor, values: Tensor, span: Span, rule: _Rule) -> Tensor:
    """One span, in tiles of rows."""
    kv_heads = keys.shape[0]
    heads, width = query.shape[1:]
    outputs = []
    for first in range(0, span.rows, PREFILL_TILE_ROWS):
        tile = query[first : first + PREFILL_TILE_ROWS]
        rows = tile.shape[0]
        begin, end = rule.first_seen(span.start + first), span.start + first + rows
        packed = (
            tile.view(rows, kv_heads, -1, width).permute(1, 2, 0, 3).reshape(kv_heads, -1, width)
        )
        scores = rule.capped(torch.matmul(packed, keys[:, begin:end].transpose(-1, -2)))
        unseen = rule.unseen(
            torch.arange(begin, end, device=query.device),
            torch.arange(span.start + first, end, device=query.device),
        )
        scores = scores.view(kv_heads, -1, rows, end - begin).masked_fill_(unseen, -torch.inf)
        weights = scores.softmax(dim=-1).view(kv_heads, -1, end - begin)
        mixed = torch.matmul(weights, values[:, begin:end]).view(kv_heads, -1, rows, width)
        outputs.append(mixed.permute(2, 0, 1, 3).reshape(rows, heads, width))
    return torch.cat(outputs)


def _attend_exactly(query: Tensor, keys: Tensor, values: Tensor, span: Span, rule: _Rule) -> Tensor:
    """Row by row: shapes depend on a row's position alone, and memory is laid out anew."""
    kv_heads, _, width = keys.shape
    output = torch.empty_like(query)
    for row in range(span.rows):
        seen = slice(rule.first_seen(span.start + row), span.start + row + 1)
        packed = query[row].clone().view(kv_heads, -1, width)
        scores = torch.matmul(packed, keys[:, seen].transpose(-1, -2).contiguous())
        weights = rule.capped(scores).softmax(dim=-1)
        mixed = torch.matmul(weights, values[:, seen].contiguous())
        output[row] = mixed.reshape(-1, width)
    return output

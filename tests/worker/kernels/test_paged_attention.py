"""Paged attention is plain causal attention over each sequence's own keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worker.kernels.paged_attention import AttentionBatch, paged_attention, reference
from worker.kernels.paged_attention.reference import PREFILL_TILE_ROWS

WIDTH = 8
CPU = torch.device("cpu")


def plain(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    start: int,
    window: int = 0,
    soft_cap: float = 0.0,
) -> Tensor:
    """One sequence, in fp64: query [rows, heads, width]; keys [length, kv heads, width]."""
    group = query.shape[1] // keys.shape[1]
    keys, values = (each.double().repeat_interleave(group, dim=1) for each in (keys, values))
    scores = torch.einsum("rhd,lhd->hrl", query.double(), keys) / query.shape[-1] ** 0.5
    scores = soft_cap * (scores / soft_cap).tanh() if soft_cap else scores
    rows, length = scores.shape[1:]
    distance = torch.arange(start, start + rows)[:, None] - torch.arange(length)
    seen = (distance >= 0) & (distance < (window or length))
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return torch.einsum("hrl,lhd->rhd", weights, values)


@settings(max_examples=20, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=6),
    block_tokens=st.integers(1, 7),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    exact=st.booleans(),
    window=st.sampled_from([0, 1, 2, 7, 100]),
    soft_cap=st.sampled_from([0.0, 0.5]),
    attend=st.sampled_from([paged_attention, reference.paged_attention]),
)
def test_a_ragged_batch_equals_each_sequence_by_itself(
    parts: list[tuple[int, int]],
    block_tokens: int,
    kv_heads: int,
    group: int,
    exact: bool,
    window: int,
    soft_cap: float,
    attend: Callable[..., Tensor],
) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = sorted(parts, key=lambda part: part[1] > 1)
    needed = [-(-(start + rows) // block_tokens) for start, rows in parts]
    order = (torch.randperm(sum(needed), generator=generator) + 1).tolist()
    tables = [[order.pop() for _ in range(count)] for count in needed]
    # Whatever lies in other blocks, and behind the end of a sequence, must not be seen.
    cache = torch.full((2, kv_heads, sum(needed) + 1, block_tokens, WIDTH), 1e4)
    cache[:, :, 0] = 0
    queries, expected = [], []
    for (start, rows), table in zip(parts, tables, strict=True):
        query = torch.randn(rows, kv_heads * group, WIDTH, generator=generator)
        pair = torch.randn(2, start + rows, kv_heads, WIDTH, generator=generator)
        for position in range(start + rows):
            block, offset = table[position // block_tokens], position % block_tokens
            cache[:, :, block, offset] = pair[:, position]
        queries.append(query)
        expected.append(plain(query, pair[0], pair[1], start, window, soft_cap))
    layout = [(start, rows, table) for (start, rows), table in zip(parts, tables, strict=True)]
    batch = AttentionBatch.build(layout, block_tokens, CPU)
    output = attend(
        torch.cat(queries), cache[0], cache[1], batch, exact, window=window, soft_cap=soft_cap
    )
    torch.testing.assert_close(output.double(), torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [0, 50, PREFILL_TILE_ROWS + 1])
@pytest.mark.parametrize("start", [0, 70])
@pytest.mark.parametrize("attend", [paged_attention, reference.paged_attention])
def test_a_chunk_longer_than_a_tile_is_causal_across_tiles(
    start: int, window: int, attend: Callable[..., Tensor]
) -> None:
    rows = 2 * PREFILL_TILE_ROWS + 3
    query = torch.randn(rows, 4, WIDTH)
    pair = torch.randn(2, start + rows, 2, WIDTH)
    blocks = -(-(start + rows) // 16)
    cache = torch.zeros(2, 2, (blocks + 1) * 16, WIDTH)
    cache[:, :, 16 : 16 + start + rows] = pair.transpose(1, 2)
    cache = cache.view(2, 2, blocks + 1, 16, WIDTH)
    batch = AttentionBatch.build([(start, rows, range(1, blocks + 1))], 16, CPU)
    output = attend(query, cache[0], cache[1], batch, window=window)
    expected = plain(query, pair[0], pair[1], start, window)
    torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-5)

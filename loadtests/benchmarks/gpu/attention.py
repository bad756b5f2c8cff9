"""Paged attention against the bandwidth of a copy, and against torch's own kernel on keys that lie
in one piece."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from loadtests.benchmarks.gpu.device_timer import Work, timer_of
from loadtests.benchmarks.gpu.size import AttentionCase, Size
from loadtests.benchmarks.report import Row, row
from worker.kernels.paged_attention import AttentionBatch, paged_attention

BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Heads:
    queries: int
    keys: int
    width: int


def rows_of(
    case: AttentionCase, size: Size, heads: Heads, copy_rate: float, device: torch.device
) -> list[Row]:
    """A case's share of the roofline (where memory bounds it) and its speed against torch's."""
    dtype = getattr(torch, size.dtype)
    sizes = (case.sequences, heads.keys, case.context_tokens, heads.width)
    pair_bytes = 2 * dtype.itemsize * torch.Size(sizes).numel()
    layers = max(1, min(32, size.attention_cache_bytes // pair_bytes))
    timer = timer_of(device)
    ours = timer.seconds(_paged(case, heads, layers, dtype, device), size.rounds)
    theirs = timer.seconds(_contiguous(case, heads, layers, dtype, device), size.rounds)
    if case.prefill:
        work, unit = layers * _flops(case, heads) / 1e12, "TFLOP/s"
    else:
        work, unit = layers * pair_bytes / 1e9, "GB/s"
    found, peers = ([work / seconds for seconds in each] for each in (ours, theirs))
    against_torch = row(f"{case.name}.vs_sdpa", found, unit, peers)
    if case.prefill:
        return [against_torch]
    return [row(f"{case.name}.vs_copy", found, unit, [copy_rate / 1e9]), against_torch]


def _flops(case: AttentionCase, heads: Heads) -> int:
    """Of the scores below the diagonal and of the mix: two products over half of the square."""
    return 2 * case.sequences * heads.queries * heads.width * case.context_tokens**2


def _paged(
    case: AttentionCase, heads: Heads, layers: int, dtype: torch.dtype, device: torch.device
) -> list[Work]:
    """One call a layer, each over a cache of its own with its blocks in random order."""
    per_sequence = -(-case.context_tokens // BLOCK_TOKENS)
    blocks = case.sequences * per_sequence
    order = (torch.randperm(blocks, generator=torch.Generator().manual_seed(0)) + 1).tolist()
    tables = [order[i * per_sequence : (i + 1) * per_sequence] for i in range(case.sequences)]
    start = case.context_tokens - case.rows
    batch = AttentionBatch.build(
        [(start, case.rows, table) for table in tables], BLOCK_TOKENS, device
    )
    shape = (2, heads.keys, blocks + 1, BLOCK_TOKENS, heads.width)
    query = _random((case.sequences * case.rows, heads.queries, heads.width), dtype, device)
    return [_paged_call(query, _random(shape, dtype, device), batch) for _ in range(layers)]


def _paged_call(query: Tensor, cache: Tensor, batch: AttentionBatch) -> Work:
    return lambda: paged_attention(query, cache[0], cache[1], batch)


def _contiguous(
    case: AttentionCase, heads: Heads, layers: int, dtype: torch.dtype, device: torch.device
) -> list[Work]:
    shape = (2, case.sequences, heads.keys, case.context_tokens, heads.width)
    query = _random((case.sequences, heads.queries, case.rows, heads.width), dtype, device)
    return [
        _contiguous_call(query, _random(shape, dtype, device), case.prefill) for _ in range(layers)
    ]


def _contiguous_call(query: Tensor, cache: Tensor, causal: bool) -> Work:
    return lambda: functional.scaled_dot_product_attention(
        query, cache[0], cache[1], is_causal=causal, enable_gqa=True
    )


def _random(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.randn(shape, dtype=dtype, device=device)

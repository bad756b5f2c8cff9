"""Random ragged batches over a paged cache, and what attention over them must give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.paged_attention import AttentionBatch


@dataclass(frozen=True, slots=True)
class PagedBatch:
    query: Tensor
    key_cache: Tensor
    value_cache: Tensor
    batch: AttentionBatch
    sequences: list[tuple[Tensor, Tensor, Tensor, int]]
    """Query, keys, values (each [positions, heads, width]) and start of each, not paged."""

    @classmethod
    def random(
        cls,
        parts: list[tuple[int, int]],
        heads: tuple[int, int, int],
        block_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> PagedBatch:
        """Args: (start, rows) of each sequence; KV heads, query heads of each, head width."""
        kv_heads, group, width = heads
        generator = torch.Generator().manual_seed(0)
        needed = [-(-(start + rows) // block_tokens) for start, rows in parts]
        order = (torch.randperm(sum(needed), generator=generator) + 1).tolist()
        tables = [[order.pop() for _ in range(count)] for count in needed]
        # What lies in other blocks, and behind the end of a sequence, must not be seen.
        cache = torch.full((2, kv_heads, sum(needed) + 1, block_tokens, width), torch.nan)
        sequences = []
        for (start, rows), table in zip(parts, tables, strict=True):
            query = torch.randn(rows, kv_heads * group, width, generator=generator).to(dtype)
            pair = torch.randn(2, start + rows, kv_heads, width, generator=generator).to(dtype)
            for position in range(start + rows):
                block, offset = table[position // block_tokens], position % block_tokens
                cache[:, :, block, offset] = pair[:, position].float()
            sequences.append((query, pair[0], pair[1], start))
        layout = [(start, rows, table) for (start, rows), table in zip(parts, tables, strict=True)]
        batch = AttentionBatch.build(layout, block_tokens, device)
        query = torch.cat([sequence[0] for sequence in sequences]).to(device)
        cache = cache.to(dtype).to(device)
        return cls(query, cache[0], cache[1], batch, sequences)

    def expected(self, window: int = 0, soft_cap: float = 0.0) -> Tensor:
        """Plain attention of each sequence by itself, in fp64: [rows, heads, width]."""
        outputs = []
        for query, keys, values, start in self.sequences:
            group = query.shape[1] // keys.shape[1]
            wide, seen_values = (
                each.double().repeat_interleave(group, dim=1) for each in (keys, values)
            )
            scores = torch.einsum("rhd,lhd->hrl", query.double(), wide) / query.shape[-1] ** 0.5
            if soft_cap:
                scores = soft_cap * (scores / soft_cap).tanh()
            rows, length = scores.shape[1:]
            at, own = torch.arange(length), torch.arange(start, start + rows)[:, None]
            seen = (at <= own) & (at > own - window if window else True)
            weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
            outputs.append(torch.einsum("hrl,lhd->rhd", weights, seen_values))
        return torch.cat(outputs)

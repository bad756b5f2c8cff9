"""Sampling on the device: noise, sum and argmax in one pass over the logits.

Noise is computed where it is needed, from the same counters and by the same fp64 arithmetic as
`noise.py`, so a token does not depend on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.compilation import Program
from worker.kernels.sampling import draw, noise
from worker.kernels.sampling.draw import Draw
from worker.kernels.sampling.truncation import kept_tokens
from worker.kernels.upload import upload

TILE_TOKENS = 1024
NOT_FINITE = tl.constexpr(draw.NOT_FINITE)
NOTHING_ALLOWED = tl.constexpr(draw.NOTHING_ALLOWED)
FORBIDDEN = tl.constexpr(draw.FORBIDDEN)
BLOCK_TOKENS = tl.constexpr(noise.BLOCK_TOKENS)
BLOCK_COUNTER = tl.constexpr(noise.BLOCK_COUNTER)


def choose(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """See the reference. Nothing here waits for the device."""
    if not draws:
        return torch.empty(0, dtype=torch.int64, device=logits.device)
    logits = logits.contiguous()
    rows, vocabulary = logits.shape
    device = logits.device
    temperatures = upload([each.temperature for each in draws], torch.float64, device)
    truncated = [row for row, each in enumerate(draws) if each.truncates]
    mask_rows = torch.full((rows,), -1, dtype=torch.int32)
    mask_rows[truncated] = torch.arange(len(truncated), dtype=torch.int32)
    ranked = logits.index_select(0, upload(truncated, torch.int64, device))
    kept = kept_tokens(ranked, [draws[row] for row in truncated])
    tiles = triton.cdiv(vocabulary, TILE_TOKENS)
    scores = torch.empty(rows, tiles, dtype=torch.float64, device=device)
    tokens = torch.empty(rows, tiles, dtype=torch.int32, device=device)
    _best_of_tile[(rows, tiles)](
        logits,
        temperatures,
        upload(draw.keys_of(draws), torch.int64, device),
        upload(mask_rows, torch.int32, device),
        kept,
        scores,
        tokens,
        vocabulary=vocabulary,
        tile=TILE_TOKENS,
    )
    best = torch.empty(rows, dtype=torch.int32, device=device)
    _best_of_row[(rows,)](
        scores, tokens, best, tiles=tiles, tiles_block=triton.next_power_of_2(tiles), num_warps=1
    )
    return best.long()


@triton.jit
def _mix(value):
    """The finaliser of SplitMix64."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB
    return value ^ (value >> 31)


@triton.jit
def _bits(key, counters):
    return _mix(key + counters.to(tl.uint64) * 0x9E3779B97F4A7C15)


@triton.jit
def _exponential(bits):
    return -tl.log(((bits >> 11).to(tl.float64) + 0.5) * 1.1102230246251565e-16)  # 2 ** -53


@triton.jit
def _gumbel(key, token_ids):
    """`noise.gumbel_noise`."""
    bits = _bits(key, token_ids // BLOCK_TOKENS + BLOCK_COUNTER)
    is_least = (token_ids % BLOCK_TOKENS).to(tl.uint64) == bits % BLOCK_TOKENS
    more = tl.where(is_least, 0.0, _exponential(_bits(key, token_ids)))
    return -tl.log(_exponential(bits) / BLOCK_TOKENS + more)


@triton.jit
def _best_of_tile(
    logits,
    temperatures,
    keys,
    mask_rows,
    kept,
    scores,
    tokens,
    vocabulary: tl.constexpr,
    tile: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * tile + tl.arange(0, tile)
    inside = columns < vocabulary
    value = tl.load(logits + row * vocabulary + columns, mask=inside, other=0.0).to(tl.float32)
    broken = tl.max((inside & ~(tl.abs(value) < float("inf"))).to(tl.int32), axis=0)
    score = value.to(tl.float64)
    temperature = tl.load(temperatures + row)
    if temperature > 0:
        key = tl.load(keys + row).to(tl.uint64)
        score = score / temperature + _gumbel(key, columns.to(tl.int64))
        mask_row = tl.load(mask_rows + row)
        if mask_row >= 0:
            masks = kept + mask_row.to(tl.int64) * vocabulary + columns
            inside = inside & (tl.load(masks, mask=inside, other=0) != 0)
    allowed = inside & (value > FORBIDDEN) & (score == score)
    score = tl.where(allowed, score, float("-inf"))
    best = tl.argmax(score, axis=0, tie_break_left=True)
    target = row * tl.num_programs(1) + tl.program_id(1)
    tl.store(scores + target, tl.max(score, axis=0))
    token = tl.program_id(1) * tile + best
    tl.store(tokens + target, tl.where(broken != 0, NOT_FINITE, token).to(tl.int32))


@triton.jit
def _best_of_row(scores, tokens, best, tiles: tl.constexpr, tiles_block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, tiles_block)
    inside = columns < tiles
    score = tl.load(scores + row * tiles + columns, mask=inside, other=float("-inf"))
    token = tl.load(tokens + row * tiles + columns, mask=inside, other=0)
    place = tl.argmax(score, axis=0, tie_break_left=True)
    chosen = tl.sum(tl.where(columns == place, token, 0), axis=0)
    chosen = tl.where(tl.max(score, axis=0) == float("-inf"), NOTHING_ALLOWED, chosen)
    # One tile that is not finite spoils its row.
    tl.store(best + row, tl.where(tl.min(token, axis=0) == NOT_FINITE, NOT_FINITE, chosen))


def programs() -> list[Program]:
    """Llama 3's vocabulary; logits are fp32."""
    pointers = {
        "logits": "*fp32",
        "temperatures": "*fp64",
        "keys": "*i64",
        "mask_rows": "*i32",
        "kept": "*u8",
        "scores": "*fp64",
        "tokens": "*i32",
    }
    tiles = triton.cdiv(128256, TILE_TOKENS)
    return [
        Program(_best_of_tile, pointers, {"vocabulary": 128256, "tile": TILE_TOKENS}),
        Program(
            _best_of_row,
            {"scores": "*fp64", "tokens": "*i32", "best": "*i32"},
            {"tiles": tiles, "tiles_block": triton.next_power_of_2(tiles)},
            warps=1,
        ),
    ]

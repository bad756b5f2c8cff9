"""Top-k, top-p and min-p on a CPU without sorting a vocabulary.

The likeliest tokens lie in the blocks with the largest logits. Where these do not hold all that is
kept, the row is looked at again with all of its blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.sampling.draw import FORBIDDEN, Draw, keys_of
from worker.kernels.sampling.noise import BLOCK_TOKENS, gumbel_noise

LOOKS = ((64, 128), (384, 2048))
"""How many blocks, and how many tokens of them: a second look is for flat distributions."""


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The likeliest tokens of each row, the likeliest first; of equal ones, smaller ids first."""

    logits: Tensor
    """[rows, candidates]."""
    token_ids: Tensor
    """[rows, candidates]."""
    known: Tensor
    """[rows, 1]: that many are certainly the likeliest of the whole row, in this order."""


def choose(blocks: Tensor, peaks: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Gumbel-max over what truncation keeps: [rows] int64.

    Args:
        blocks: [rows, blocks, block] logits.
        peaks: [rows, blocks], the largest of each.
    """
    chosen = torch.zeros(len(draws), dtype=torch.int64)
    open_rows = torch.arange(len(draws))
    for look in range(len(LOOKS) + 1):
        rows = slice(None) if look == 0 else open_rows
        found = _likeliest(blocks[rows], peaks[rows], look)
        mine = [draws[row] for row in open_rows.tolist()]
        tokens, settled = _draw(found, blocks[rows], peaks[rows], mine)
        chosen[open_rows] = tokens
        open_rows = open_rows[~settled]
        if not len(open_rows):
            break
    return chosen


def _likeliest(blocks: Tensor, peaks: Tensor, look: int) -> _Candidates:
    if look == len(LOOKS) or peaks.shape[1] <= LOOKS[look][0]:
        return _everything(blocks)
    width, tokens = LOOKS[look]
    highest = peaks.topk(width, dim=-1)
    logits = blocks.gather(1, highest.indices[..., None].expand(-1, -1, BLOCK_TOKENS)).flatten(1)
    token_ids = highest.indices[..., None] * BLOCK_TOKENS + torch.arange(BLOCK_TOKENS)
    top = logits.topk(tokens, dim=-1)
    # Which of equal logits these are is not said, so the last ones are not trusted.
    least = torch.maximum(highest.values[:, -1:], top.values[:, -1:])
    return _ordered(top.values, token_ids.flatten(1).gather(1, top.indices), least)


def _everything(blocks: Tensor) -> _Candidates:
    logits = blocks.flatten(1)
    values, token_ids = logits.sort(dim=-1, descending=True, stable=True)
    return _Candidates(values, token_ids, torch.full((len(values), 1), values.shape[1]))


def _ordered(logits: Tensor, token_ids: Tensor, least: Tensor) -> _Candidates:
    token_ids, order = token_ids.sort(dim=-1)
    logits, order = logits.gather(1, order).sort(dim=-1, descending=True, stable=True)
    known = (logits > least).sum(dim=-1, keepdim=True)
    return _Candidates(logits, token_ids.gather(1, order), known)


def _draw(
    found: _Candidates, blocks: Tensor, peaks: Tensor, draws: Sequence[Draw]
) -> tuple[Tensor, Tensor]:
    """Chosen tokens, and for which rows the candidates were enough."""
    vocabulary = blocks.shape[1] * BLOCK_TOKENS
    settings = [
        (each.temperature, min(each.top_k or vocabulary, vocabulary), each.top_p, each.min_p)
        for each in draws
    ]
    temperature, top_k, top_p, min_p = torch.tensor(settings, dtype=torch.float64)[
        ..., None
    ].unbind(1)
    scaled = found.logits.double() / temperature
    scaled.masked_fill_(found.logits <= FORBIDDEN, -torch.inf)
    place = torch.arange(scaled.shape[1])
    weights = (scaled - scaled[:, :1]).exp()
    sums = weights.cumsum(dim=-1)
    total = sums.gather(1, (top_k.long() - 1).clamp_max(scaled.shape[1] - 1))
    everything = (top_k >= vocabulary) & (found.known < vocabulary)
    if bool(everything.any()):
        total = torch.where(everything, _total(blocks, peaks, temperature), total)
    kept = place < top_k
    kept &= (sums - weights < top_p * total) | (top_p >= 1)
    kept &= scaled >= scaled[:, :1] + min_p.log()
    kept[:, 0] = True
    count = kept.sum(dim=-1, keepdim=True)
    settled = (count < found.known) | (top_k <= found.known) | (found.known >= vocabulary)
    noise = gumbel_noise(keys_of(draws)[:, None], found.token_ids)
    best = (scaled + noise).masked_fill_(~kept, -torch.inf).argmax(dim=-1, keepdim=True)
    return found.token_ids.gather(1, best)[:, 0], settled[:, 0]


def _total(blocks: Tensor, peaks: Tensor, temperature: Tensor) -> Tensor:
    """[rows, 1]: what the weights of the whole vocabulary add up to."""
    highest = peaks.amax(dim=-1)[:, None, None]
    scale = temperature.reciprocal().float()[..., None]
    weights = (blocks - highest).mul_(scale).exp_()
    return weights.sum(dim=-1, dtype=torch.float64).sum(dim=-1, keepdim=True)

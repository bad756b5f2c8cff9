"""The choice of tokens: greedy, or a draw after temperature, top-k, top-p and min-p."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from worker.kernels.sampling.draw import FORBIDDEN, NOT_FINITE, NOTHING_ALLOWED, Draw
from worker.kernels.sampling.noise import gumbel_noise, stream_key


def choose(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Choose a token for each row.

    Args:
        logits: [rows, vocabulary]; `FORBIDDEN` for tokens that may not be chosen.
        draws: one for each row; a row's token depends on its own logits and draw only.

    Returns:
        [rows] int64 where the logits are; `NOT_FINITE` or `NOTHING_ALLOWED` where a row has no
        token.
    """
    tokens = [_choose(row, draw) for row, draw in zip(logits, draws, strict=True)]
    return torch.tensor(tokens, dtype=torch.int64, device=logits.device)


def _choose(logits: Tensor, draw: Draw) -> int:
    if not torch.isfinite(logits).all():
        return NOT_FINITE
    if (logits <= FORBIDDEN).all():
        return NOTHING_ALLOWED
    if draw.temperature == 0:
        return int(logits.argmax())
    scaled = (logits.double() / draw.temperature).masked_fill(logits <= FORBIDDEN, -torch.inf)
    token_ids = torch.arange(scaled.shape[0], device=scaled.device)
    if draw.truncates:
        scaled, token_ids = _truncate(scaled, draw)
    key = torch.tensor(stream_key(draw.seed, draw.choice, draw.index), device=scaled.device)
    return int(token_ids[(scaled + gumbel_noise(key, token_ids)).argmax()])


def _truncate(scaled: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """The kept values and their token ids, most likely first; never empty."""
    values, token_ids = scaled.sort(descending=True, stable=True)
    kept = len(values)
    if draw.top_k > 0:
        kept = min(kept, draw.top_k)
    if draw.top_p < 1:
        probabilities = values[:kept].softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        kept = min(kept, int((before < draw.top_p).sum()))
    if draw.min_p > 0:
        kept = min(kept, int((values >= values[0] + math.log(draw.min_p)).sum()))
    kept = max(1, kept)
    return values[:kept], token_ids[:kept]

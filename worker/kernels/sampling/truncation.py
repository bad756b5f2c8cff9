"""Top-k, top-p and min-p for many rows at once, where the logits are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.kernels.sampling.draw import FORBIDDEN, Draw
from worker.kernels.upload import upload

ROWS_AT_ONCE = 32
"""Sorting a row takes about 40 bytes a token: more rows would take the memory of the KV cache."""


def kept_tokens(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Which tokens top-k, then top-p, then min-p keep: [rows, vocabulary] uint8; one at least.

    Args:
        logits: [rows, vocabulary].
        draws: one a row, with temperatures above 0.
    """
    kept = torch.zeros(logits.shape, dtype=torch.uint8, device=logits.device)
    for first in range(0, len(draws), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        _keep(logits[rows], draws[rows], kept[rows])
    return kept


def _keep(logits: Tensor, draws: Sequence[Draw], kept: Tensor) -> None:
    vocabulary = logits.shape[1]
    settings = [
        (draw.temperature, min(draw.top_k or vocabulary, vocabulary), draw.top_p, draw.min_p)
        for draw in draws
    ]
    temperature, top_k, top_p, min_p = (
        upload(settings, torch.float64, logits.device).unsqueeze(-1).unbind(1)
    )
    scaled = (logits.double() / temperature).masked_fill_(logits <= FORBIDDEN, -torch.inf)
    values, token_ids = scaled.sort(dim=-1, descending=True, stable=True)
    within = torch.arange(vocabulary, device=logits.device) < top_k
    probabilities = values.masked_fill_(~within, -torch.inf).softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    # A sum may round to 1 before the last token: a top_p of 1 keeps them all nevertheless.
    chosen = within & ((before < top_p) | (top_p >= 1))
    chosen &= values >= values[:, :1] + min_p.log()
    chosen[:, 0] = True
    kept.scatter_(1, token_ids, chosen.to(torch.uint8))

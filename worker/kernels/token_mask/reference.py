"""Packed masks over the vocabulary, as llguidance and xgrammar write them."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.sampling.draw import FORBIDDEN

WORD_BITS = 32
_EVERY_TOKEN = -1


def apply_mask(logits: Tensor, mask: Tensor) -> None:
    """Make the logits of tokens `FORBIDDEN` in place; what is not finite stays so.

    Args:
        logits: [rows, vocabulary] fp32.
        mask: [rows, ceil(vocabulary / 32)] int32 where the logits are; bit i of a row, the lowest
            of a word first, says that token i may be chosen. A row of ones changes nothing.
    """
    rows = (mask != _EVERY_TOKEN).any(dim=-1).nonzero()[:, 0]
    if not len(rows):
        return
    bits = mask[rows, :, None] >> torch.arange(WORD_BITS, dtype=torch.int32, device=mask.device)
    allowed = (bits & 1).flatten(1)[:, : logits.shape[1]] != 0
    mine = logits[rows]
    logits[rows] = mine.masked_fill(~allowed & mine.isfinite(), FORBIDDEN)

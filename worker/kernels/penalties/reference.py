"""Repetition, frequency and presence penalties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Penalty:
    """In the order in which they are applied (vLLM's; transformers has the first one)."""

    repetition: float
    """Divides the positive and multiplies the negative logits of tokens that are in the prompt or
    the output (CTRL; Keskar et al., 2019)."""
    frequency: float
    """Taken off for each time a token is in the output (OpenAI)."""
    presence: float
    """Taken off where a token is in the output (OpenAI)."""


def penalize(
    logits: Tensor,
    rows: Sequence[int],
    counts: Tensor,
    in_prompt: Tensor,
    penalties: Sequence[Penalty],
) -> None:
    """Change the logits of some rows in place; what is not finite stays so.

    Args:
        logits: [all rows, vocabulary] fp32.
        rows: which are changed, each at most once.
        counts: [rows, vocabulary] int32: how often the output has each token.
        in_prompt: [rows, vocabulary] bool.
        penalties: one for each of `rows`.
    """
    settings = [(each.repetition, each.frequency, each.presence) for each in penalties]
    values = torch.tensor(settings, dtype=torch.float32, device=logits.device)
    repetition, frequency, presence = values[..., None].unbind(1)
    mine = logits[rows]
    said = counts > 0
    repeated = torch.where(mine > 0, mine / repetition, mine * repetition)
    mine = torch.where(said | in_prompt, repeated, mine)
    mine -= frequency * counts
    mine -= presence * said
    logits[rows] = mine

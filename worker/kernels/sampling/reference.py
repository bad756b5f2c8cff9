"""Greedy choice and sampling with temperature, top-k and top-p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.sampling.noise import gumbel_noise

NOT_FINITE = -1
"""In the place of a token, where a row's logits are not all finite."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How to choose the token of one row."""

    temperature: float
    """0 is greedy."""
    top_k: int
    """0 keeps the whole vocabulary."""
    top_p: float
    seed: int
    choice: int
    index: int
    """Place of the token in the output of its sequence."""


def choose(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Like `sample`, but tokens stay where the logits are: [rows] int64, `NOT_FINITE` for None."""
    tokens = [NOT_FINITE if token is None else token for token in sample(logits, draws)]
    return torch.tensor(tokens, dtype=torch.int64, device=logits.device)


def tokens_of(chosen: Tensor) -> list[int | None]:
    """What `choose` chose, as `sample` says it."""
    found: list[int] = chosen.tolist()
    return [None if token == NOT_FINITE else token for token in found]


def sample(logits: Tensor, draws: Sequence[Draw]) -> list[int | None]:
    """Choose a token for each row; None where the row's logits are not all finite.

    Args:
        logits: [rows, vocabulary].
        draws: one for each row; a row's token depends on its own logits and draw only.
    """
    finite: list[bool] = torch.isfinite(logits).all(dim=-1).tolist()
    greedy: list[int] = logits.argmax(dim=-1).tolist()
    tokens: list[int | None] = []
    for row, draw in enumerate(draws):
        if not finite[row]:
            tokens.append(None)
        elif draw.temperature == 0:
            tokens.append(greedy[row])
        else:
            tokens.append(_draw(logits[row], draw))
    return tokens


def _draw(logits: Tensor, draw: Draw) -> int:
    """Gumbel-max over the tokens that top-k and top-p keep."""
    scaled = logits.double() / draw.temperature
    token_ids = torch.arange(scaled.shape[0], device=scaled.device)
    if draw.top_k > 0 or draw.top_p < 1:
        scaled, token_ids = _truncate(scaled, draw)
    noise = gumbel_noise(draw.seed, draw.choice, draw.index, token_ids)
    return int(token_ids[(scaled + noise).argmax()])


def _truncate(scaled: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """The kept values and their token ids, most likely first; never empty."""
    values, token_ids = scaled.sort(descending=True, stable=True)
    if draw.top_k > 0:
        values, token_ids = values[: draw.top_k], token_ids[: draw.top_k]
    if draw.top_p < 1:
        probabilities = values.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        kept = max(1, int((before < draw.top_p).sum()))
        values, token_ids = values[:kept], token_ids[:kept]
    return values, token_ids

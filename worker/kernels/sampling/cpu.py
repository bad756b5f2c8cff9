"""The reference's choices without its cost: all rows at once, and only tokens that may win.

A block's largest logit and its largest noise together bound all of its tokens. Few bounds reach
what the best of the blocks' noisiest tokens has, so noise is made for a few blocks of a row, not
for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from worker.kernels.sampling import candidates
from worker.kernels.sampling.draw import FORBIDDEN, NOT_FINITE, NOTHING_ALLOWED, Draw, keys_of
from worker.kernels.sampling.noise import BLOCK_TOKENS, block_noise, noise_in_blocks

_Pick = Callable[[Tensor, Tensor, Sequence[Draw]], Tensor]
_SLACK = 1e-9
"""Relative: far above what rounding can do to a score, far below what would cost anything."""


def choose(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """See the reference."""
    if not draws:
        return torch.empty(0, dtype=torch.int64)
    blocks = _blocks(logits)
    peaks = blocks.amax(dim=-1)
    chosen = torch.zeros(len(draws), dtype=torch.int64)
    for rows, pick in _groups(draws):
        every = len(rows) == len(draws)
        mine = (blocks, peaks) if every else (blocks[rows], peaks[rows])
        chosen[rows] = pick(*mine, [draws[row] for row in rows])
    highest, lowest = peaks.amax(dim=-1), logits.amin(dim=-1)
    chosen[highest <= FORBIDDEN] = NOTHING_ALLOWED
    chosen[~(highest.isfinite() & lowest.isfinite())] = NOT_FINITE
    return chosen


def _groups(draws: Sequence[Draw]) -> list[tuple[list[int], _Pick]]:
    """Rows that are chosen in the same way."""
    greedy = [row for row, draw in enumerate(draws) if draw.temperature == 0]
    ranked = [row for row, draw in enumerate(draws) if draw.ranks]
    raced = [row for row, draw in enumerate(draws) if draw.temperature > 0 and not draw.ranks]
    ways = [(greedy, _largest), (ranked, candidates.choose), (raced, _race)]
    return [(rows, pick) for rows, pick in ways if rows]


def _blocks(logits: Tensor) -> Tensor:
    """[rows, blocks, block]: a view, where the vocabulary is whole blocks."""
    missing = -logits.shape[1] % BLOCK_TOKENS
    if missing:
        logits = functional.pad(logits, (0, missing), value=FORBIDDEN)
    return logits.view(logits.shape[0], -1, BLOCK_TOKENS)


def _largest(blocks: Tensor, peaks: Tensor, draws: Sequence[Draw]) -> Tensor:
    """The first of the largest logits."""
    block = peaks.argmax(dim=-1)
    return block * BLOCK_TOKENS + blocks[torch.arange(len(draws)), block].argmax(dim=-1)


def _race(blocks: Tensor, peaks: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Gumbel-max over the whole vocabulary, or over what min-p keeps of it."""
    keys, scale = keys_of(draws), _Scale(peaks, draws)
    every = torch.arange(len(draws))
    least, place = block_noise(keys[:, None], torch.arange(peaks.shape[1]))
    bound = scale(peaks, every) - least.log()

    def scores(row: Tensor, block: Tensor) -> Tensor:
        token_ids = block[:, None] * BLOCK_TOKENS + torch.arange(BLOCK_TOKENS)
        known = least[row, block][:, None], place[row, block][:, None]
        return scale(blocks[row, block], row) + noise_in_blocks(keys[row, None], token_ids, *known)

    noisiest = scale(blocks.gather(2, place[..., None])[..., 0], every) - least.log()
    likeliest = scores(every, bound.argmax(dim=-1))
    reached = torch.maximum(noisiest.amax(dim=-1), likeliest.amax(dim=-1))[:, None]
    hopeful = (bound >= reached - _SLACK * reached.abs()) & (bound > -torch.inf)
    row, block = hopeful.nonzero(as_tuple=True)
    best, inner = scores(row, block).max(dim=-1)
    # Blocks of a row in their order, so that of equal scores the first wins.
    bests = torch.full(peaks.shape, -torch.inf, dtype=torch.float64)
    bests[row, block] = best
    places = torch.zeros(peaks.shape, dtype=torch.int64)
    places[row, block] = inner
    winner = bests.argmax(dim=-1)
    return winner * BLOCK_TOKENS + places[every, winner]


class _Scale:
    """Logits over their row's temperature; -inf for what may not be chosen."""

    def __init__(self, peaks: Tensor, draws: Sequence[Draw]) -> None:
        settings = [(draw.temperature, draw.min_p) for draw in draws]
        self._temperatures, min_p = torch.tensor(settings, dtype=torch.float64).unbind(1)
        self._floors = peaks.amax(dim=-1).double() / self._temperatures + min_p.log()

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        scaled = logits.double() / self._temperatures[rows, None]
        dropped = (logits <= FORBIDDEN) | (scaled < self._floors[rows, None])
        return scaled.masked_fill_(dropped, -torch.inf)

"""How the token of one row is to be chosen, and what stands for a token where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.sampling.noise import stream_key

NOT_FINITE = -1
"""In the place of a token: the row's logits are not all finite."""
NOTHING_ALLOWED = -2
"""In the place of a token: every token of the row is forbidden."""
FORBIDDEN: float = torch.finfo(torch.float32).min
"""The logit of a token that may not be chosen. Finite, so that a model's own infinities are still
seen."""

LEAST_TEMPERATURE = 1e-30
"""Below it the noise decides nothing any more, and far below it a logit over it is infinite."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Temperature, then top-k, top-p and min-p, each among what the one before it kept."""

    temperature: float
    """0 is greedy, and nothing below is read."""
    top_k: int
    """0 keeps the whole vocabulary."""
    top_p: float
    seed: int
    choice: int
    index: int
    """Place of the token in the output of its sequence."""
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest one are dropped."""

    @property
    def ranks(self) -> bool:
        """Whether it depends on the order of the tokens."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1)

    @property
    def truncates(self) -> bool:
        return self.ranks or (self.temperature > 0 and self.min_p > 0)


def keys_of(draws: Sequence[Draw]) -> Tensor:
    """[draws] int64: the keys of their noise."""
    return torch.tensor([stream_key(draw.seed, draw.choice, draw.index) for draw in draws])

"""What every arm is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from loadtests.traffic.prompts import token_ids

LEVELS = (1, 8, 32)
"""Streams at once."""
PROMPT_TOKENS = 128
CONTEXT_TOKENS = 1024
"""What peers are told that a sequence may grow to."""


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    output_tokens: int
    """Of each stream."""
    sharing_requests: int
    """That have a prefix in common."""
    long_prompts: int
    """That arrive among running streams, in each round."""
    scored_windows: int
    """Of text whose perplexity is taken."""


FULL = Size(3, 128, sharing_requests=64, long_prompts=3, scored_windows=4)
QUICK = Size(1, 16, sharing_requests=6, long_prompts=1, scored_windows=1)


def prompts(streams: int, seed: str, tokens: int = PROMPT_TOKENS) -> list[list[int]]:
    """Random ordinary tokens, the same for all who name the same seed."""
    random = Random(seed)
    return [token_ids(tokens, random) for _ in range(streams)]

"""One wave of prompts, and how fast it was: both ends of the question."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.benchmarks.arms.answering import Answer, CannotRun
from loadtests.benchmarks.arms.arm import Arm

Prompts = Sequence[Sequence[int]]


def tokens_per_s(arm: Arm, prompts: Prompts, max_tokens: int) -> float:
    """Output tokens per second of one wave: all prompts at once, until all have ended."""
    return float(arm.ask("generate", prompts=prompts, max_tokens=max_tokens)["tokens_per_s"])


def rate(tokens: int, wanted: int, elapsed_s: float) -> Answer:
    """An arm's answer: output tokens per second of one wave.

    Raises:
        CannotRun: it gave another number of tokens than it was asked for.
    """
    if tokens != wanted:
        raise CannotRun(f"{tokens} output tokens, {wanted} were asked for")
    return {"tokens_per_s": tokens / elapsed_s}

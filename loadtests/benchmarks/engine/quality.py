"""How well each arm's arithmetic predicts a text: perplexity over windows of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.benchmarks.arms.arm import Arm, Refused
from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine.comparisons import FP32, INT8
from loadtests.benchmarks.engine.workload import Size
from loadtests.benchmarks.report import Row, not_measured, row

NAME = "cpu.int8.perplexity_vs_fp32"
GOAL = 1.02
WINDOW_TOKENS = 256
TEXT = Path(__file__).with_name("text.txt")


def windows(model: Path, size: Size) -> list[list[int]]:
    """The text in the tokens of a model's directory, cut into windows of the same length.

    None for a directory without a tokenizer.
    """
    from tokenizers import Tokenizer

    file = model / "tokenizer.json"
    if not file.exists():
        return []
    tokenizer = Tokenizer.from_file(str(file))
    tokens: list[int] = tokenizer.encode(TEXT.read_text(), add_special_tokens=False).ids
    starts = range(0, len(tokens) - WINDOW_TOKENS + 1, WINDOW_TOKENS)
    return [tokens[start : start + WINDOW_TOKENS] for start in starts][: size.scored_windows]


def measure(line_up: LineUp, text: Sequence[Sequence[int]]) -> dict[str, float]:
    """Perplexity by arm, of those that can tell the probabilities of a prompt."""
    found: dict[str, float] = {}
    for name in line_up.names if text else []:
        told = line_up.use(name, lambda arm: _perplexity(arm, text))
        if told is not None:
            found[name] = told
    return found


def quality_row(perplexities: Mapping[str, float]) -> Row:
    """Ours in int8 against ours in fp32, of one pass: the arithmetic has no noise."""
    missing = [name for name in (INT8, FP32) if name not in perplexities]
    if missing:
        return not_measured(NAME, f"no perplexity of {', '.join(missing)}", GOAL)
    ours, reference = perplexities[INT8], perplexities[FP32]
    return row(NAME, [ours], "ppl", [reference], GOAL, less_is_better=True)


def _perplexity(arm: Arm, text: Sequence[Sequence[int]]) -> float | None:
    total = 0.0
    try:
        for window in text:
            total += arm.ask("score", tokens=window)["negative_log_likelihood"]
    except Refused:
        # Not every engine tells probabilities of a prompt; then its format must do.
        return None
    return math.exp(total / sum(len(window) - 1 for window in text))

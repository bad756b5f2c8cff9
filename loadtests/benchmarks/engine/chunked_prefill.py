"""Gaps between the tokens of running streams while a long prompt arrives, with its prefill cut into
chunks (the default) and whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine.workload import Size, prompts
from loadtests.benchmarks.report import Row, not_measured, row
from loadtests.statistics.summary import percentile

NAME = "chunked.p99_itl_ratio"
STREAMS = 8
LONG_TOKENS = 2000
CHUNKED = "ours.chunked"
WHOLE = "ours.whole"
ARMS: Mapping[str, Mapping[str, Any]] = {
    CHUNKED: {},
    WHOLE: {"step_token_budget": 2 * LONG_TOKENS, "mixed_prefill_tokens": 2 * LONG_TOKENS},
}


def measure(line_up: LineUp, size: Size) -> Row:
    """The 99th percentile of each round's gaps."""
    found: dict[str, list[float]] = {name: [] for name in ARMS}
    for number in range(size.rounds):
        gaps: dict[str, list[float]] = {name: [] for name in ARMS}
        for arrival in range(size.long_prompts):
            seed = f"{number}/{arrival}"
            running = prompts(STREAMS, seed)
            [long] = prompts(1, seed, LONG_TOKENS)
            for name in ARMS:
                told = line_up.use(
                    name,
                    lambda arm: arm.ask("gaps", prompts=running, long_prompt=long),  # noqa: B023 - called at once
                )
                gaps[name] += told["seconds"] if told is not None else []
        for name in ARMS:
            if gaps[name]:
                found[name].append(percentile(sorted(gaps[name]), 99) * 1000)
    if not all(found.values()):
        return not_measured(NAME, line_up.reasons_of(ARMS))
    return row(NAME, found[CHUNKED], "ms", found[WHOLE], less_is_better=True, of_ratio=True)

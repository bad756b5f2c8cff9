"""Time to the first token of requests that share a prefix, with the prefix cache and without."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine.workload import Size, prompts
from loadtests.benchmarks.report import Row, not_measured, row

NAME = "prefix.ttft_ratio"
SHARED_TOKENS = 512
OWN_TOKENS = 32
WITH = "ours.prefix_cache"
WITHOUT = "ours.no_prefix_cache"
ARMS: Mapping[str, Mapping[str, Any]] = {
    WITH: {"prefix_cache": True},
    WITHOUT: {"prefix_cache": False},
}


def measure(line_up: LineUp, size: Size) -> Row:
    """The median of a round's requests, one after the other; each round has a prefix of its own.

    The first of them finds nothing in the cache, and counts.
    """
    found: dict[str, list[float]] = {name: [] for name in ARMS}
    for number in range(size.rounds):
        [shared] = prompts(1, f"shared/{number}", SHARED_TOKENS)
        own = prompts(size.sharing_requests, f"own/{number}", OWN_TOKENS)
        asked = [shared + each for each in own]
        for name in ARMS:
            told = line_up.use(name, lambda arm: arm.ask("first_tokens", prompts=asked))  # noqa: B023 - called at once
            if told is not None:
                found[name].append(median(told["seconds"]) * 1000)
    if not all(found.values()):
        return not_measured(NAME, line_up.reasons_of(ARMS))
    return row(NAME, found[WITH], "ms", found[WITHOUT], less_is_better=True, of_ratio=True)

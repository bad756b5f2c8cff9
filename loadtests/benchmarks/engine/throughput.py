"""Output tokens per second of every arm at 1, 8 and 32 streams, in interleaved rounds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine.comparisons import Comparison, arms_of
from loadtests.benchmarks.engine.wave import tokens_per_s
from loadtests.benchmarks.engine.workload import PROMPT_TOKENS, Size, prompts
from loadtests.benchmarks.report import Row, not_measured, row

WARM_UP_STREAMS = 8
WARM_UP_TOKENS = 4
LONG_WAVE_S = 20.0
ONE_ROUND = frozenset({"ctranslate2", "transformers"})
"""Where a wave of theirs is long, one round must do: else the run takes more than a quarter of an
hour. The rows say so."""

LEFT_OUT = "left out of this run"
"""Why a peer was not measured that nobody asked for."""

Rates = dict[tuple[str, int], list[float]]
"""Output tokens per second of each round, by arm and streams."""


def measure(line_up: LineUp, comparisons: Sequence[Comparison], size: Size, rates: Rates) -> None:
    """Fill in the rates. Every round asks all arms for the same prompts; which is asked first,
    rotates."""
    levels = sorted({each.streams for each in comparisons})
    wanted = {(arm, each.streams) for each in comparisons for arm in each.arms}
    for name in arms_of(comparisons):
        _wave(line_up, name, WARM_UP_STREAMS, WARM_UP_TOKENS, "warm-up")
    for number, streams in itertools.product(range(size.rounds), levels):
        names = [name for name in arms_of(comparisons) if (name, streams) in wanted]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.monotonic()
            found = _wave(line_up, name, streams, size.output_tokens, f"{number}/{streams}")
            if found is not None:
                rates.setdefault((name, streams), []).append(found)
            if name in ONE_ROUND and time.monotonic() - began > LONG_WAVE_S:
                wanted.discard((name, streams))


def rows(
    comparisons: Sequence[Comparison],
    rates: Rates,
    reasons: Mapping[str, str],
    qualities: Mapping[str, str],
) -> list[Row]:
    """One for each comparison; a side that is missing says why. A figure of ours that stands beside
    no peer has a row of its own, and a peer that nobody asked for has none.

    Args:
        reasons: why an arm was not measured.
        qualities: what is known of the quality of each arm's answers.
    """
    compared = {each.arms[0]: set[int]() for each in comparisons}
    for each in comparisons:
        if rates.get((each.peer, each.streams)):
            compared[each.ours].add(each.streams)
    alone = {
        (each.ours, each.streams): each
        for each in reversed(comparisons)
        if each.streams not in compared[each.ours] and rates.get((each.ours, each.streams))
    }
    asked_for = [each for each in comparisons if reasons.get(each.peer) != LEFT_OUT]
    return [
        *(_alone(each, rates, qualities) for each in reversed(alone.values())),
        *(_row(each, rates, reasons, qualities) for each in asked_for),
    ]


def _alone(each: Comparison, rates: Rates, qualities: Mapping[str, str]) -> Row:
    name = each.name.partition(".vs_")[0]
    values = rates[each.ours, each.streams]
    return row(name, values, "tok/s", remark="; ".join(_known((each.ours,), qualities)))


def _row(
    each: Comparison,
    rates: Rates,
    reasons: Mapping[str, str],
    qualities: Mapping[str, str],
) -> Row:
    ours, peer = (rates.get((arm, each.streams), []) for arm in each.arms)
    missing = [
        f"{arm} not measured: {reasons.get(arm, 'it did not answer')}"
        for arm in each.arms
        if not rates.get((arm, each.streams))
    ]
    short = [f"{each.peer}: one round"] if len(peer) == 1 < len(ours) else []
    remark = "; ".join([*missing, *_known(each.arms, qualities), *short])
    if not ours or not peer:
        return not_measured(each.name, remark, each.goal)
    return row(each.name, ours, "tok/s", peer, each.goal, of_ratio=True, remark=remark)


def _known(arms: Sequence[str], qualities: Mapping[str, str]) -> list[str]:
    return [f"{arm}: {qualities[arm]}" for arm in arms if arm in qualities]


def _wave(line_up: LineUp, name: str, streams: int, output_tokens: int, seed: str) -> float | None:
    asked = prompts(streams, seed, PROMPT_TOKENS)
    return line_up.use(name, lambda arm: tokens_per_s(arm, asked, output_tokens))

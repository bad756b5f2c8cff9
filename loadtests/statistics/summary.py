"""What the records of a load test say together: percentiles, rates, goodput."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from loadtests.statistics.record import Outcome, RequestRecord, Slo

PERCENTS = (50, 90, 95, 99)


class Spread(msgspec.Struct, frozen=True):
    """Of one measure over all requests (or tokens) that have it."""

    count: int
    mean: float
    percentiles: dict[int, float]
    """percent -> value, nearest rank: a value that was really seen."""
    max: float


class Summary(msgspec.Struct, frozen=True):
    duration_s: float
    """From the first request sent to the last one ended."""
    outcomes: dict[Outcome, int]
    requests_per_s: float
    """Completed ones."""
    goodput_per_s: float
    """Completed within every limit of the SLO."""
    attainment: float
    """Share of the decided requests (completed, failed, dropped, or cut off when they were too
    late already) that met the SLO."""
    output_tokens_per_s: float
    prompt_tokens: int
    output_tokens: int
    slo: Slo
    ttft_ms: Spread | None
    tpot_ms: Spread | None
    itl_ms: Spread | None
    e2e_ms: Spread | None
    stream_tokens_per_s: Spread | None
    lag_ms: Spread | None
    errors: dict[str, int]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank of ascending values: the least that `percent` % of them do not exceed."""
    if not ordered:
        raise ValueError("no values, no percentile")
    rank = -(-len(ordered) * percent // 100)  # ceiling
    return ordered[max(0, int(rank) - 1)]


def spread(values: Iterable[float | None]) -> Spread | None:
    """None where nothing was measured."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    return Spread(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        percentiles={percent: percentile(ordered, percent) for percent in PERCENTS},
        max=ordered[-1],
    )


def summarise(records: Sequence[RequestRecord], slo: Slo) -> Summary:
    """Latencies are of completed requests; output tokens too, so that rates are not flattered."""
    completed = [each for each in records if each.outcome is Outcome.COMPLETED]
    outcomes = {kind: sum(each.outcome is kind for each in records) for kind in Outcome}
    late = sum(slo.is_missed_already_by(each) for each in records)
    decided = len(records) - outcomes[Outcome.UNFINISHED] + late
    good = sum(slo.is_met_by(each) for each in completed)
    duration_s = _duration_s(records)
    output_tokens = sum(each.output_tokens for each in completed)
    return Summary(
        duration_s=duration_s,
        outcomes=outcomes,
        requests_per_s=_rate(len(completed), duration_s),
        goodput_per_s=_rate(good, duration_s),
        attainment=good / decided if decided else 0.0,
        output_tokens_per_s=_rate(output_tokens, duration_s),
        prompt_tokens=sum(each.prompt_tokens for each in completed),
        output_tokens=output_tokens,
        slo=slo,
        ttft_ms=spread(each.ttft_ms for each in completed),
        tpot_ms=spread(each.tpot_ms for each in completed),
        itl_ms=spread(gap for each in completed for gap in each.gaps_ms),
        e2e_ms=spread(each.e2e_ms for each in completed),
        stream_tokens_per_s=spread(each.tokens_per_s for each in completed),
        lag_ms=spread(each.lag_ms for each in records if each.outcome is not Outcome.DROPPED),
        errors=_counted(each.error for each in records if each.error),
    )


def _duration_s(records: Sequence[RequestRecord]) -> float:
    if not records:
        return 0.0
    return max(each.ended_s for each in records) - min(each.sent_s for each in records)


def _rate(count: int, duration_s: float) -> float:
    return count / duration_s if duration_s > 0 else 0.0


def _counted(errors: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for error in errors:
        counts[error] = counts.get(error, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))

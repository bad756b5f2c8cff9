"""What was measured, as one document and as a table."""

from __future__ import annotations

from typing import Any

from control_plane.cli.screen import Screen
from loadtests.bench.load import Load
from loadtests.statistics.record import Outcome
from loadtests.statistics.summary import Spread, Summary

_PERCENTS = (50, 95)
_LATENCIES = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "itl_ms": "ITL"}
_DIGITS = 3

Result = dict[str, Any]


def result(load: Load, summary: Summary) -> Result:
    """Latencies are of completed requests; null where there was none."""
    return {
        "deployment": load.deployment,
        "streams": load.streams,
        "seconds": round(summary.duration_s, _DIGITS),
        "requests": {
            each.value: summary.outcomes.get(each, 0)
            for each in (Outcome.COMPLETED, Outcome.FAILED, Outcome.UNFINISHED)
        },
        "ttft_ms": _percentiles(summary.ttft_ms),
        "tpot_ms": _percentiles(summary.tpot_ms),
        "itl_ms": _percentiles(summary.itl_ms),
        "output_tokens_per_s": round(summary.output_tokens_per_s, _DIGITS),
        "requests_per_s": round(summary.requests_per_s, _DIGITS),
        "goodput_per_s": round(summary.goodput_per_s, _DIGITS),
        "slo": {
            "ttft_ms": summary.slo.ttft_ms or None,
            "tpot_ms": summary.slo.tpot_ms or None,
            "attainment": round(summary.attainment, _DIGITS),
        },
        "errors": summary.errors,
    }


def _percentiles(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {f"p{each}": round(spread.percentiles[each], _DIGITS) for each in _PERCENTS}


def show(screen: Screen, found: Result) -> None:
    latencies = [
        (f"{said} (ms)", *((found[name] or {}).get(f"p{each}") for each in _PERCENTS))
        for name, said in _LATENCIES.items()
    ]
    screen.table(("LATENCY", *(f"P{each}" for each in _PERCENTS)), latencies)
    slo = found["slo"]
    limits = [
        f"{name[:4].upper()} ≤ {slo[name]:g} ms" for name in ("ttft_ms", "tpot_ms") if slo[name]
    ]
    screen.table(
        ("RATE", "VALUE"),
        [
            ("output tokens/s", found["output_tokens_per_s"]),
            ("requests/s", found["requests_per_s"]),
            (f"goodput/s ({' and '.join(limits) or 'no limit'})", found["goodput_per_s"]),
            ("SLO attainment", f"{slo['attainment']:.1%}"),
        ],
    )
    counts = ", ".join(f"{count} {name}" for name, count in found["requests"].items())
    screen.note(f"{counts} in {found['seconds']:.1f} s")
    for error, count in found["errors"].items():
        screen.note(f"{count} x {error}")

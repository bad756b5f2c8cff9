"""A load test told in Markdown, short enough to read."""

from __future__ import annotations

from loadtests.statistics.record import Outcome
from loadtests.statistics.summary import PERCENTS, Spread, Summary

_LATE_MS = 50.0
_MUCH_UNFINISHED = 0.2


def markdown(summary: Summary, title: str, settings: dict[str, str], notes: list[str]) -> str:
    """`settings`: what was asked for; `notes`: what a reader must know to judge the figures."""
    lines = [f"# {title}", "", *_settings(settings), *_totals(summary), *_table(summary)]
    lines += _notes(summary, notes)
    if summary.errors:
        lines += ["", "## Errors", "", "| count | error |", "|---:|---|"]
        lines += [f"| {count} | {_cell(error)} |" for error, count in summary.errors.items()]
    return "\n".join(lines) + "\n"


def _settings(settings: dict[str, str]) -> list[str]:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in settings.items()]
    return ["| setting | value |", "|---|---|", *rows, ""]


def _totals(summary: Summary) -> list[str]:
    counts = ", ".join(f"{summary.outcomes.get(each, 0)} {each.value}" for each in Outcome)
    return [
        f"Requests: {counts}, in {summary.duration_s:.1f} s.",
        "",
        "| rate | value |",
        "|---|---:|",
        f"| completed requests/s | {summary.requests_per_s:.3f} |",
        f"| goodput, requests/s ({_slo(summary)}) | {summary.goodput_per_s:.3f} |",
        f"| SLO attainment | {summary.attainment:.1%} |",
        f"| output tokens/s | {summary.output_tokens_per_s:.1f} |",
        f"| prompt tokens | {summary.prompt_tokens} |",
        f"| output tokens | {summary.output_tokens} |",
        "",
    ]


def _slo(summary: Summary) -> str:
    limits = {"TTFT": summary.slo.ttft_ms, "TPOT": summary.slo.tpot_ms}
    said = [f"{name} ≤ {limit:g} ms" for name, limit in limits.items() if limit]
    return " and ".join(said) or "no limit given"


def _table(summary: Summary) -> list[str]:
    heads = ["measure", "n", "mean", *(f"p{percent}" for percent in PERCENTS), "max"]
    lines = [_row(heads), "|---|" + "---:|" * (len(heads) - 1)]
    measures: dict[str, Spread | None] = {
        "TTFT (ms)": summary.ttft_ms,
        "TPOT (ms)": summary.tpot_ms,
        "ITL (ms)": summary.itl_ms,
        "e2e (ms)": summary.e2e_ms,
        "stream (tokens/s)": summary.stream_tokens_per_s,
        "client lag (ms)": summary.lag_ms,
    }
    for name, seen in measures.items():
        if seen is None:
            lines.append(_row([name, "0", *("–" for _ in heads[2:])]))
            continue
        values = [seen.mean, *(seen.percentiles[percent] for percent in PERCENTS), seen.max]
        lines.append(_row([name, str(seen.count), *(f"{value:.2f}" for value in values)]))
    return lines


def _notes(summary: Summary, notes: list[str]) -> list[str]:
    said = list(notes)
    if summary.lag_ms is not None and summary.lag_ms.percentiles[99] > _LATE_MS:
        said.append(
            f"The client itself was late (p99 {summary.lag_ms.percentiles[99]:.0f} ms): this "
            "machine could not send as fast as asked, so the load was lower than it says."
        )
    unfinished = summary.outcomes.get(Outcome.UNFINISHED, 0)
    if unfinished > _MUCH_UNFINISHED * sum(summary.outcomes.values()):
        said.append(
            f"{unfinished} requests were still unanswered at the end, so the latencies above are "
            "those of the quick and early ones: give it more time or less load."
        )
    if not summary.outcomes.get(Outcome.COMPLETED):
        said.append("No request was completed: there are no latencies to tell.")
    return ["", *(f"- {note}" for note in said)] if said else []


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())

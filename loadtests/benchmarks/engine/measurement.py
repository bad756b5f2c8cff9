"""The whole of the benchmark: what is asked for, in which order it is measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.benchmarks.arms.arm import ArmFailed, ArmSpec
from loadtests.benchmarks.arms.cores import THREADS
from loadtests.benchmarks.arms.environment import NotInstalled
from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine import (
    chunked_prefill,
    code_size,
    prefix_reuse,
    quality,
    scheduler_step,
    throughput,
)
from loadtests.benchmarks.engine.comparisons import (
    COMPARISONS,
    FP32,
    INT8,
    OURS,
    Comparison,
    arms_of,
)
from loadtests.benchmarks.engine.peers import PEERS, prepare
from loadtests.benchmarks.engine.workload import Size
from loadtests.benchmarks.report import Report, Row


@dataclass(frozen=True, slots=True)
class Asked:
    size: Size
    only: str
    """What the names of the wanted rows begin with."""
    peers: frozenset[str]
    model: Path
    cache: Path

    def wants(self, name: str) -> bool:
        return name.startswith(self.only)

    @property
    def logs(self) -> Path:
        return self.cache / "logs"


def measure(report: Report, asked: Asked) -> Iterator[None]:
    """Fill the report; yields after each part."""
    for part in (_compare, _reuse_prefixes, _chunk_prefills, _step_scheduler, _count_code):
        rows = [row for row in part(report, asked) if asked.wants(row.name)]
        if rows:
            report.rows += rows
            yield


def install(asked: Asked) -> dict[str, str]:
    """Make every peer's environment and model and load it once, which may convert or compile.

    Returns why a peer cannot be had, and nothing for one that is ready.
    """
    specs, reasons = _specs(asked, [name for name in PEERS if name in asked.peers])
    with LineUp(asked.logs, reasons) as line_up:
        for name, spec in specs.items():
            line_up.load(name, spec)
            line_up.close(name)
        return {name: line_up.reasons.get(name, "") for name in sorted(asked.peers)}


def _compare(report: Report, asked: Asked) -> list[Row]:
    wanted = [each for each in COMPARISONS if asked.wants(each.name)]
    scored = [INT8, FP32] if asked.wants(quality.NAME) else []
    names = list(dict.fromkeys([*arms_of(wanted), *scored]))
    if not names:
        return []
    specs, reasons = _specs(asked, names)
    with LineUp(asked.logs, reasons) as line_up:
        for name, spec in specs.items():
            _note(f"loading {name}")
            line_up.load(name, spec)
        return _measured(report, asked, line_up, wanted)


def _measured(
    report: Report, asked: Asked, line_up: LineUp, wanted: Sequence[Comparison]
) -> list[Row]:
    _note("perplexity")
    perplexities = quality.measure(line_up, quality.windows(asked.model, asked.size))
    line_up.close(FP32)
    _note(f"output tokens per second of {', '.join(line_up.names)}")
    rates: throughput.Rates = {}
    try:
        throughput.measure(line_up, wanted, asked.size, rates)
    except KeyboardInterrupt:
        for name in arms_of(wanted):
            line_up.reasons.setdefault(name, "cut off")
        report.rows += _rows(report, line_up, wanted, rates, perplexities)
        raise
    return _rows(report, line_up, wanted, rates, perplexities)


def _rows(
    report: Report,
    line_up: LineUp,
    wanted: Sequence[Comparison],
    rates: throughput.Rates,
    perplexities: Mapping[str, float],
) -> list[Row]:
    report.parts |= line_up.facts
    report.notes += [_introduced(name, facts) for name, facts in line_up.facts.items()]
    left_out = [name for name, why in line_up.reasons.items() if why == throughput.LEFT_OUT]
    report.notes += [f"{throughput.LEFT_OUT}: {', '.join(left_out)}"] if left_out else []
    qualities = {
        name: f"{facts['format']}" + _perplexity(perplexities.get(name))
        for name, facts in line_up.facts.items()
    }
    rows = throughput.rows(wanted, rates, line_up.reasons, qualities)
    return [*rows, quality.quality_row(perplexities)]


def _reuse_prefixes(_report: Report, asked: Asked) -> list[Row]:
    if not asked.wants(prefix_reuse.NAME):
        return []
    with _ours(asked, prefix_reuse.ARMS) as line_up:
        _note("prefix reuse")
        return [prefix_reuse.measure(line_up, asked.size)]


def _chunk_prefills(_report: Report, asked: Asked) -> list[Row]:
    if not asked.wants(chunked_prefill.NAME):
        return []
    with _ours(asked, chunked_prefill.ARMS) as line_up:
        _note("chunked prefill")
        return [chunked_prefill.measure(line_up, asked.size)]


def _step_scheduler(_report: Report, asked: Asked) -> list[Row]:
    levels = [each for each in scheduler_step.LEVELS if asked.wants(scheduler_step.name(each))]
    return [scheduler_step.measure(each, asked.size) for each in levels]


def _count_code(_report: Report, _asked: Asked) -> list[Row]:
    return code_size.measure()


def _specs(asked: Asked, names: Sequence[str]) -> tuple[dict[str, ArmSpec], dict[str, str]]:
    """How each arm is started, peers installed; and why some cannot be."""
    specs: dict[str, ArmSpec] = {}
    reasons: dict[str, str] = {}
    for name in names:
        if name in OURS:
            specs[name] = _our_spec(asked, OURS[name])
        elif name not in asked.peers:
            reasons[name] = throughput.LEFT_OUT
        else:
            _note(f"preparing {name}")
            try:
                specs[name] = prepare(name, asked.cache, asked.model, asked.logs / f"{name}.log")
            except (NotInstalled, ArmFailed) as error:
                reasons[name] = str(error)
    return specs, reasons


def _ours(asked: Asked, arms: Mapping[str, Mapping[str, Any]]) -> LineUp:
    line_up = LineUp(asked.logs)
    for name, options in arms.items():
        line_up.load(name, _our_spec(asked, options))
    return line_up


def _our_spec(asked: Asked, options: Mapping[str, Any]) -> ArmSpec:
    settings = {"model": str(asked.model), "threads": THREADS, "options": dict(options)}
    return ArmSpec("loadtests.benchmarks.engine.arms.tamer", settings)


def _introduced(name: str, facts: Mapping[str, Any]) -> str:
    trial = facts.get("trial_tokens_per_s", {})
    tried = ", ".join(f"{mode} {rate:.0f} tok/s" for mode, rate in trial.items())
    told = f"{facts['version']}, {facts['format']}, {facts['mode']}, {facts['instructions']}"
    return f"{name}: {told}" + (f" (tried at 8 streams when installed: {tried})" if tried else "")


def _perplexity(value: float | None) -> str:
    return "" if value is None else f", perplexity {value:.2f}"


def _note(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)

"""What the rounds say, as rows: ours against the disk, and against each peer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import median

from loadtests.benchmarks.loader.loaders import OURS, PEERS, SAFETENSORS, UNVERIFIED
from loadtests.benchmarks.loader.rounds import DESTINATIONS, Measured
from loadtests.benchmarks.report import Row, not_measured, row

_UNIT = "GB/s"


def steady_rows(measured: Measured, reasons: Mapping[str, str]) -> list[Row]:
    ours = {kind: _gb_per_s(measured.rates[OURS, kind]) for kind in DESTINATIONS}
    if not all(ours.values()):
        return [not_measured("steady.vs_ceiling", reasons.get(OURS, "ours did not load"), 0.9)]
    ceiling = _gb_per_s(measured.ceilings)
    slower = min(DESTINATIONS, key=lambda kind: median(ours[kind]))
    rows = [
        row("steady.vs_ceiling", ours[slower], _UNIT, ceiling, 0.9, remark=f"to {slower}"),
        *(row(f"steady.{kind}.vs_ceiling", ours[kind], _UNIT, ceiling) for kind in DESTINATIONS),
        _against_best("steady.vs_best_peer", measured, 1.3),
        *_against_each("steady", measured),
    ]
    cpu = measured.cpu_s_per_gb
    for arm, name, goal in (
        (UNVERIFIED, "steady.cpu_s_per_gb", 0.1),
        (OURS, "steady.verified.cpu_s_per_gb", None),
    ):
        if cpu[arm, "host"]:
            rows.append(row(name, cpu[arm, "host"], "s/GB", goal=goal, less_is_better=True))
    return rows


def fresh_rows(measured: Measured) -> list[Row]:
    return [
        _against_best("from_process_start.vs_best_peer", measured, 1.3),
        *_against_each("from_process_start", measured),
    ]


def warm_row(rates: list[float], copies: list[float]) -> Row:
    """Seconds of a load from the page cache ÷ those of a copy of memory."""
    ratios = [copy / rate for rate, copy in zip(rates, copies, strict=True)]
    name = "warm.seconds_vs_memory_copy"
    return row(name, ratios, "x", goal=1.3, less_is_better=True, remark="to host, verified")


def _against_best(name: str, measured: Measured, goal: float) -> Row:
    """To the destination where the lead over the best peer is least."""
    leads: list[tuple[float, str, str]] = []
    for kind in DESTINATIONS:
        peers = {peer: rates for peer in PEERS if (rates := measured.rates[peer, kind])}
        ours = measured.rates[OURS, kind]
        if peers and ours:
            best = max(peers, key=lambda peer: median(peers[peer]))
            leads.append((median(ours) / median(peers[best]), best, kind))
    if not leads:
        return not_measured(name, "no peer took part", goal)
    _, best, kind = min(leads)
    ours, peer = _gb_per_s(measured.rates[OURS, kind]), _gb_per_s(measured.rates[best, kind])
    return row(name, ours, _UNIT, peer, goal, remark=f"to {kind}, {best} is the best peer there")


def _against_each(part: str, measured: Measured) -> Iterator[Row]:
    for kind in DESTINATIONS:
        ours = _gb_per_s(measured.rates[OURS, kind])
        for peer in PEERS:
            theirs = _gb_per_s(measured.rates[peer, kind])
            if ours and theirs:
                goal = 2.0 if peer == SAFETENSORS else 1.3
                yield row(f"{part}.{kind}.vs_{peer}", ours, _UNIT, theirs, goal)


def _gb_per_s(rates: Iterable[float]) -> list[float]:
    return [rate / 1e9 for rate in rates]

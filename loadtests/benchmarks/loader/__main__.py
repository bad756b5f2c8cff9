"""`python -m loadtests.benchmarks.loader`: a checkpoint from disk, cold, into memory.

1. `steady`: 2 GB by processes that have loaded before, to host memory and into memory that stands
   for a device's, against safetensors, Run:ai Model Streamer, fastsafetensors and `torch.load`,
   between two measurements of the disk's own ceiling (direct reads into memory that is there).
2. `from_process_start`: the first load of a new process after its imports, memory faulted in on the
   way.
3. `warm`: from the page cache, against a plain copy of memory.
4. `store` and `swarm`: from a real S3 server behind slow connections, by one worker and by four at
   once (`store.py`).

The file is put out of the page cache before each load, which is checked with mincore; what was
loaded is held against its hashes after the clock has stopped. Each loader is a process in an
environment of its own, stopped while another is measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.importer.errors import ImportRefused
from loadtests.benchmarks.arms.arm import ArmSpec
from loadtests.benchmarks.arms.environment import NotInstalled
from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine.weights import cache_folder
from loadtests.benchmarks.loader import rounds
from loadtests.benchmarks.loader.ceiling import DiskCeiling, copy_rate
from loadtests.benchmarks.loader.checkpoint import CheckpointFiles, checkpoint
from loadtests.benchmarks.loader.loaders import OURS, PEERS, UNVERIFIED, file_of, spec_of
from loadtests.benchmarks.loader.page_cache import warm
from loadtests.benchmarks.loader.rows import fresh_rows, steady_rows, warm_row
from loadtests.benchmarks.loader.store import store_rows
from loadtests.benchmarks.report import Report, Row, not_measured
from loadtests.benchmarks.s3_server import NoS3Server
from worker.loader.large_pages import shared_are_large

DISK, STORE = "disk", "store"
_WARM_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Size:
    layers: int
    """Of the checkpoint: 17 are 2 GB."""
    rounds: int
    fresh_rounds: int
    """Each starts every process anew, twice."""


_FULL = Size(17, 11, 5)
_QUICK = Size(2, 1, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    report = Report("loader", options.quick)
    cache = options.cache.resolve()
    size = _QUICK if options.quick else _FULL
    names = [OURS, UNVERIFIED, *_peers(options)]
    try:
        for _ in _measure(report, options.only, names, cache, size):
            if options.json is not None:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_bytes(report.json())
    except ImportRefused as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(report.table())
    return 0


def _measure(
    report: Report, only: str, names: Sequence[str], cache: Path, size: Size
) -> Iterator[None]:
    """Fill the report; yields after each part."""
    if only in ("", DISK):
        files = checkpoint(cache, size.layers)
        specs, reasons = _specs(names, files, cache)
        yield from _from_disk(report, files, specs, reasons, cache / "logs", size)
    if only in ("", STORE):
        _note("from a store")
        report.rows += _from_store(report.quick)
        yield


def _from_store(quick: bool) -> list[Row]:
    try:
        return store_rows(quick)
    except NoS3Server as error:
        names = ("store.capped.vs_ceiling", "swarm.4_workers.copies_read")
        return [not_measured(name, str(error)) for name in names]


def _from_disk(
    report: Report,
    files: CheckpointFiles,
    specs: dict[str, ArmSpec],
    reasons: dict[str, str],
    logs: Path,
    size: Size,
) -> Iterator[None]:
    """Fill the report; yields after each part."""
    logs.mkdir(parents=True, exist_ok=True)
    read = {name: file_of(name, files) for name in specs}
    ceiling = DiskCeiling(read[OURS])

    def started() -> LineUp:
        line_up = LineUp(logs, reasons)
        for name, spec in specs.items():
            line_up.load(name, spec)
        return line_up

    with started() as line_up:
        report.notes += [f"{name}: {facts['version']}" for name, facts in line_up.facts.items()]
        report.notes.append(
            f"ceiling: direct reads, {ceiling.depth} at once; {files.size_bytes / 1e9:.2f} GB"
        )
        report.notes.append(
            f"large pages of shared memory: {'on' if shared_are_large() else 'off'}"
        )
        _note("steady")
        found = rounds.steady(line_up, read, files.size_bytes, ceiling, size.rounds)
        report.rows += steady_rows(found, line_up.reasons)
        yield
        _note("warm")
        report.rows.append(_warm(line_up, read[OURS], files.size_bytes))
        report.notes += [f"{name}: {reason}" for name, reason in line_up.reasons.items()]
        yield
    _note("from process start")
    report.rows += fresh_rows(rounds.fresh(started, read, files.size_bytes, size.fresh_rounds))
    yield


def _warm(line_up: LineUp, file: Path, size_bytes: int) -> Row:
    rates, copies = [], []
    for _ in range(_WARM_ROUNDS):
        warm(file)
        told = line_up.use(OURS, lambda arm: arm.ask("load", file=str(file), kind="host"))
        if told is None:
            return not_measured("warm.seconds_vs_memory_copy", line_up.reasons[OURS], 1.3)
        rates.append(size_bytes / told["seconds"])
        copies.append(copy_rate(size_bytes))
    return warm_row(rates, copies)


def _specs(
    names: Sequence[str], files: CheckpointFiles, cache: Path
) -> tuple[dict[str, ArmSpec], dict[str, str]]:
    specs: dict[str, ArmSpec] = {}
    reasons: dict[str, str] = {}
    for name in names:
        _note(f"preparing {name}")
        try:
            specs[name] = spec_of(name, files, cache)
        except NotInstalled as error:
            reasons[name] = str(error)
    return specs, reasons


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.loader",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a small file, one round, no peers")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument(
        "--peers", default=None, metavar="NAME,...", help=f"of {', '.join(PEERS)}; all of them"
    )
    parser.add_argument("--only", choices=(DISK, STORE), default="", help="one part of it")
    parser.add_argument("--cache", type=Path, default=cache_folder(), metavar="DIR")
    return parser


def _peers(options: argparse.Namespace) -> list[str]:
    if options.peers is None:
        return [] if options.quick else list(PEERS)
    return [name for name in PEERS if name in options.peers.split(",")]


def _note(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


def _end(_number: int, _frame: object) -> None:
    sys.exit("benchmark: ended by a signal")


if __name__ == "__main__":
    # Arms are stopped most of the time and would outlive us.
    signal.signal(signal.SIGTERM, _end)
    raise SystemExit(main())

"""`python -m loadtests.benchmarks.engine`: our engine on this machine's CPU, beside its peers.

1. Output tokens per second at 1, 8 and 32 streams, prompts of 128 and outputs of 128 tokens, two
   threads, the same weights: against vLLM's CPU build, llama.cpp (its wheel, and compiled here),
   CTranslate2 and transformers; exact mode against ours without it; perplexity of each.
2. The time to the first token of requests with a common prefix, with and without prefix cache.
3. The gaps in running streams while a long prompt arrives, prefill chunked and whole.
4. What a step costs the scheduler, and how much code the worker is.

Each engine is a process in an environment of its own, stopped while another is measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from control_plane.importer.errors import ImportRefused
from loadtests.benchmarks.engine import weights
from loadtests.benchmarks.engine.measurement import Asked, install, measure
from loadtests.benchmarks.engine.peers import PEERS
from loadtests.benchmarks.engine.workload import FULL, QUICK
from loadtests.benchmarks.interruption import interrupted
from loadtests.benchmarks.report import Report

OURS = "ours"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    report = Report("engine", options.quick)
    try:
        asked = _asked(options)
    except ImportRefused as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    if options.install_only:
        reasons = install(asked)
        for name, reason in reasons.items():
            print(f"{name}: {reason or 'ready'}")
        return 0
    code = 0
    try:
        for _ in measure(report, asked):  # a run that is killed leaves the parts before
            _write(options.json, report)
    except KeyboardInterrupt:
        code = interrupted(report)
        _write(options.json, report)
    if report.rows:
        print(report.table())
    return code


def _write(file: Path | None, report: Report) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(report.json())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round; peers only if named")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument(
        "--only",
        default="",
        metavar="ROW_PREFIX",
        help='rows whose names begin so, e.g. "cpu.int8"',
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        default=None,
        metavar="NAME,...",
        help=f"which take part, of: {', '.join([OURS, *PEERS])}; ours always does",
    )
    parser.add_argument(
        "--model", type=Path, default=None, help="another model's directory; without peers"
    )
    parser.add_argument("--cache", type=Path, default=weights.cache_folder(), metavar="DIR")
    parser.add_argument(
        "--install-only", action="store_true", help="make the peers' environments and models"
    )
    return parser


def _peers(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(",")) - {OURS, ""}
    unknown = names - PEERS.keys()
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def _asked(options: argparse.Namespace) -> Asked:
    cache = options.cache.resolve()
    (cache / "logs").mkdir(parents=True, exist_ok=True)
    return Asked(
        size=QUICK if options.quick else FULL,
        only=options.only,
        peers=_taking_part(options),
        model=(options.model or weights.hugging_face(cache)).resolve(),
        cache=cache,
    )


def _taking_part(options: argparse.Namespace) -> frozenset[str]:
    if options.model is not None:
        return frozenset()
    if options.peers is not None:
        chosen: frozenset[str] = options.peers
        return chosen
    return frozenset() if options.quick else frozenset(PEERS)


def _end(_number: int, _frame: object) -> None:
    sys.exit("benchmark: ended by a signal")


if __name__ == "__main__":
    # Arms are stopped most of the time and would outlive us.
    signal.signal(signal.SIGTERM, _end)
    raise SystemExit(main())

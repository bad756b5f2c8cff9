"""`python -m loadtests.benchmarks.stack [--quick] [--json FILE]`: what the stack costs.

1. Output tokens per second at 1, 8 and 32 streams through the whole stack, against the same engine
   in a bare loop: same prompts, same options, greedy, one thread. In both arms the engine has one
   core for itself; everything else, this client included, shares another one.
2. What the serving path adds to the time to the first token, from the spans of requests to that
   engine (`added_ttft.py`).
3. The paced engine, which costs next to nothing: tokens and requests per second through one
   gateway process, and the processor time of every process (`gateway_load.py`).
4. The job queue alone: jobs per second on a real Valkey, client and server on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from loadtests.benchmarks import added_ttft, gateway_load, job_queue
from loadtests.benchmarks.engine_arm import EngineArm, EngineArmFailed
from loadtests.benchmarks.home import Home, NotRunning
from loadtests.benchmarks.interruption import interrupted
from loadtests.benchmarks.processes import Cores, TooFewCores, pin
from loadtests.benchmarks.report import Report, row
from loadtests.benchmarks.stream_client import StreamClient, StreamFailed
from loadtests.traffic.prompts import token_ids

LEVELS = (1, 8, 32)
"""Streams at once."""
PROMPT_TOKENS = 32
WARM_UP_TOKENS = 4
STACK_GOAL = 0.9


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    output_tokens: int
    """Of each stream through the real engine."""
    paced_s: float
    jobs: int
    traced: int
    """Requests of each stream whose spans are looked at."""


FULL = Size(rounds=3, output_tokens=64, paced_s=6.0, jobs=10_000, traced=12)
QUICK = Size(rounds=1, output_tokens=16, paced_s=2.0, jobs=2_000, traced=3)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.stack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(arguments)
    report = Report("stack", options.quick)
    code = 0
    try:
        measure(report, QUICK if options.quick else FULL, Cores.of_this_machine())
    except (
        TooFewCores,
        NotRunning,
        EngineArmFailed,
        StreamFailed,
        added_ttft.SpansMissing,
        job_queue.QueueFailed,
    ) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        code = interrupted(report)
    if report.rows:
        print(report.table())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(report.json())
    return code


def measure(report: Report, size: Size, cores: Cores) -> None:
    os.sched_setaffinity(0, {cores.rest})  # ours, and of all that we start
    _note("starting a platform of its own")
    with Home() as home:
        _note("the whole stack against its engine alone")
        _stack_against_engine(report, size, cores, home)
        _note("one gateway under the paced engine")
        gateway_load.measure(report, size.rounds, size.paced_s, cores, home)
    _note("the job queue alone")
    rates = job_queue.jobs_per_s(size.jobs, size.rounds)
    report.rows.append(row("queue.jobs_per_s", rates, "jobs/s"))
    report.notes.append(
        "queue.jobs_per_s: offer, lease and settle, 32 at a time, Valkey without persistence"
    )


def _note(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


def _prompts(streams: int, seed: str) -> list[list[int]]:
    random = Random(seed)
    return [token_ids(PROMPT_TOKENS, random) for _ in range(streams)]


def _stack_against_engine(report: Report, size: Size, cores: Cores, home: Home) -> None:
    revision = home.deploy("bench-torch", {"kind": "torch"})
    [engine] = home.engines()
    pin(engine.pid, cores.engine)
    stack = StreamClient(home.url, home.key, "bench-torch")
    rates: dict[tuple[str, int], list[float]] = {}
    with EngineArm(
        revision["engine"], home.model_path(), revision["options"], cores.engine
    ) as alone:
        warm_up = _prompts(max(LEVELS), "warm-up")
        alone.wave(warm_up, WARM_UP_TOKENS)
        asyncio.run(stack.wave(warm_up, WARM_UP_TOKENS))
        for number, streams in itertools.product(range(size.rounds), LEVELS):
            prompts = _prompts(streams, f"{number}/{streams}")
            peer = alone.wave(prompts, size.output_tokens)
            wave = asyncio.run(stack.wave(prompts, size.output_tokens))
            rates.setdefault(("engine", streams), []).append(peer)
            rates.setdefault(("stack", streams), []).append(wave.tokens_per_s)
    for streams in LEVELS:
        ours, theirs = rates["stack", streams], rates["engine", streams]
        name = f"stack_vs_engine.{streams}_streams"
        report.rows.append(row(name, ours, "tok/s", theirs, STACK_GOAL if streams == 8 else None))
    _note("what the serving path adds to the first token")
    added_ttft.measure(report, stack, home.spans, size.traced)
    home.delete("bench-torch")


if __name__ == "__main__":
    raise SystemExit(main())

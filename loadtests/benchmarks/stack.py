"""`python -m loadtests.benchmarks.stack [--quick] [--json FILE]`: what the stack costs.

1. Output tokens per second at 1, 8 and 32 streams through the whole stack, against the same engine
   in a bare loop: same prompts, same options, greedy, one thread. In both arms the engine has one
   core for itself; everything else, this client included, shares another one.
2. The paced engine, which costs next to nothing: tokens and requests per second through one
   gateway process, and the processor time of every process.
3. The job queue alone: jobs per second on a real Valkey, client and server on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from loadtests.benchmarks import job_queue
from loadtests.benchmarks.engine_arm import EngineArm, EngineArmFailed
from loadtests.benchmarks.home import Home, NotRunning
from loadtests.benchmarks.processes import GATEWAY, TOKENIZER, Cores, TooFewCores, cpu_s, pin
from loadtests.benchmarks.report import Report, row
from loadtests.benchmarks.stream_client import StreamClient, StreamFailed, Wave
from loadtests.traffic.prompts import token_ids

LEVELS = (1, 8, 32)
"""Streams at once."""
PROMPT_TOKENS = 32
VOCABULARY = range(300, 40_000)
STACK_GOAL = 0.9
GATEWAY_GOAL = 10_000.0
PACED_STREAMS = 32

Prompts = list[list[int]]


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    output_tokens: int
    """Of each stream through the real engine."""
    paced_s: float
    jobs: int


FULL = Size(rounds=3, output_tokens=64, paced_s=8.0, jobs=10_000)
QUICK = Size(rounds=1, output_tokens=16, paced_s=3.0, jobs=2_000)


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
    try:
        measure(report, QUICK if options.quick else FULL, Cores.of_this_machine())
    except (
        TooFewCores,
        NotRunning,
        EngineArmFailed,
        StreamFailed,
        job_queue.QueueFailed,
    ) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(report.table())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(report.json())
    return 0


def measure(report: Report, size: Size, cores: Cores) -> None:
    os.sched_setaffinity(0, {cores.rest})  # ours, and of all that we start
    with Home() as home:
        _stack_against_engine(report, size, cores, home)
        _through_one_gateway(report, size, cores, home)
    rates = job_queue.jobs_per_s(size.jobs, size.rounds)
    report.rows.append(row("queue.jobs_per_s", rates, "jobs/s"))
    report.notes += [
        "added_ttft_ms is not measured: it needs timestamps inside the serving path, and the "
        "difference of two clients' TTFT would count the engine's queue as well",
        "gateway.*_per_core: per second of processor time of the gateway process (which serves "
        "the REST API too) and its tokenizer processes, whoever else was the bottleneck",
        "queue.jobs_per_s: offer, lease and settle, 32 at a time, Valkey without persistence",
    ]


def _prompts(streams: int, seed: str) -> Prompts:
    random = Random(seed)
    return [token_ids(PROMPT_TOKENS, random, VOCABULARY) for _ in range(streams)]


# --- the whole stack against the engine alone ---


def _stack_against_engine(report: Report, size: Size, cores: Cores, home: Home) -> None:
    revision = home.deploy("bench-torch", {"kind": "torch"})
    [engine] = home.engines()
    pin(engine.pid, cores.engine)
    stack = StreamClient(home.url, home.key, "bench-torch")
    rates: dict[tuple[str, int], list[float]] = {}
    with EngineArm(
        revision["engine"], home.model_path(), revision["options"], cores.engine
    ) as alone:
        for number in range(-1, size.rounds):  # round -1 warms up
            for streams in LEVELS:
                prompts = _prompts(streams, f"{number}/{streams}")
                peer = alone.wave(prompts, size.output_tokens)
                wave = asyncio.run(stack.wave(prompts, size.output_tokens))
                if number >= 0:
                    rates.setdefault(("engine", streams), []).append(peer)
                    rates.setdefault(("stack", streams), []).append(wave.tokens_per_s)
    for streams in LEVELS:
        ours, theirs = rates["stack", streams], rates["engine", streams]
        name = f"stack_vs_engine.{streams}_streams"
        report.rows.append(row(name, ours, "tok/s", theirs, STACK_GOAL if streams == 8 else None))
    home.delete("bench-torch")


# --- one gateway, as fast as it goes ---


@dataclass(frozen=True, slots=True)
class _Cost:
    """A wave and the processor seconds that each role spent on it."""

    wave: Wave
    cpu_s: dict[str, float]

    @property
    def gateway_s(self) -> float:
        return self.cpu_s.get(GATEWAY, 0.0) + self.cpu_s.get(TOKENIZER, 0.0)


def _through_one_gateway(report: Report, size: Size, cores: Cores, home: Home) -> None:
    options = {"tokens_per_s": 500.0, "max_running": PACED_STREAMS, "prefill_tokens_per_s": 1e9}
    home.deploy("bench-paced", {"kind": "paced", "options": options})
    for process in home.processes():
        ours = process.role in (GATEWAY, TOKENIZER)
        pin(process.pid, cores.rest if ours else cores.engine)
    os.sched_setaffinity(0, {cores.engine})
    client = StreamClient(home.url, home.key, "bench-paced")
    _paced(client, home, 8, 1.0)  # warms up
    long = [_paced(client, home, 256, size.paced_s) for _ in range(size.rounds)]
    short = [_paced(client, home, 2, size.paced_s) for _ in range(size.rounds)]
    os.sched_setaffinity(0, {cores.rest})
    home.delete("bench-paced")

    tokens = [each.wave.tokens_per_s for each in long]
    per_core = [each.wave.tokens / each.gateway_s for each in long]
    requests = [each.wave.requests_per_s for each in short]
    report.rows += [
        row("gateway.tokens_per_s_per_core", per_core, "tok/s", goal=GATEWAY_GOAL),
        row("gateway.tokens_per_s", tokens, "tok/s"),
        row("gateway.events_per_token", [e.wave.events / e.wave.tokens for e in long], "1"),
        row("gateway.requests_per_s", requests, "1/s"),
        row(
            "gateway.requests_per_s_per_core",
            [each.wave.requests / each.gateway_s for each in short],
            "1/s",
        ),
    ]
    for role in sorted({role for each in long for role in each.cpu_s}):
        costs = [each.cpu_s.get(role, 0.0) / each.wave.tokens * 1e6 for each in long]
        report.rows.append(row(f"cpu_us_per_token.{role}", costs, "µs"))


def _paced(client: StreamClient, home: Home, max_tokens: int, duration_s: float) -> _Cost:
    processes = home.processes()
    before = cpu_s(processes) | {"client": _own_cpu_s()}
    prompts = _prompts(PACED_STREAMS, "paced")
    wave = asyncio.run(client.loop(prompts, max_tokens, duration_s))
    after = cpu_s(processes) | {"client": _own_cpu_s()}
    return _Cost(wave, {role: after[role] - before.get(role, 0.0) for role in after})


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    raise SystemExit(main())

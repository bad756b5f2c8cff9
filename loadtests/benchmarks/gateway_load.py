"""One gateway under the paced engine: how much passes, and which process spends the time.

The gateway has one core for itself; all else, the client included, shares the other one. A gateway
that falls behind sends several tokens in one event, so two rates are told: per second of its
processor time at a pace that lets every token have an event of its own, and flat out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from loadtests.benchmarks.home import Home
from loadtests.benchmarks.processes import GATEWAY, TOKENIZER, Cores, cpu_s, pin
from loadtests.benchmarks.report import Report, row
from loadtests.benchmarks.stream_client import StreamClient, Wave
from loadtests.traffic.prompts import token_ids

STREAMS = 32
PROMPT_TOKENS = 32
STEADY_TOKENS_PER_S = 50.0
FLAT_OUT_TOKENS_PER_S = 500.0
LONG_TOKENS = 128
SHORT_TOKENS = 2
GOAL_TOKENS_PER_S = 10_000.0
_DEPLOYMENT = "bench-paced"


@dataclass(frozen=True, slots=True)
class Spent:
    """A wave and the processor seconds that each role spent on it."""

    wave: Wave
    cpu_s: dict[str, float]

    @property
    def gateway_s(self) -> float:
        return self.cpu_s.get(GATEWAY, 0.0) + self.cpu_s.get(TOKENIZER, 0.0)


def measure(report: Report, rounds: int, duration_s: float, cores: Cores, home: Home) -> None:
    """Leaves this process on the core it came on."""
    came_on = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.engine})
    try:
        steady = _waves(home, cores, STEADY_TOKENS_PER_S, LONG_TOKENS, rounds, duration_s)
        flat_out = _waves(home, cores, FLAT_OUT_TOKENS_PER_S, LONG_TOKENS, rounds, duration_s)
        short = _waves(home, cores, FLAT_OUT_TOKENS_PER_S, SHORT_TOKENS, rounds, duration_s)
    finally:
        os.sched_setaffinity(0, came_on)
    _tell_tokens(report, steady, flat_out)
    _tell_requests(report, short)
    report.notes.append(
        "gateway.*_per_core: per second of processor time of the gateway process (which serves "
        "the REST API too) and its tokenizer processes, whoever else was the bottleneck"
    )


def _waves(
    home: Home, cores: Cores, tokens_per_s: float, max_tokens: int, rounds: int, duration_s: float
) -> list[Spent]:
    options = {
        "tokens_per_s": tokens_per_s,
        "max_running": STREAMS,
        "prefill_tokens_per_s": 1_000_000.0,
    }
    home.deploy(_DEPLOYMENT, {"kind": "paced", "options": options})
    for process in home.processes():
        alone = process.role in (GATEWAY, TOKENIZER)
        pin(process.pid, cores.rest if alone else cores.engine)
    client = StreamClient(home.url, home.key, _DEPLOYMENT)
    _spend(client, home, SHORT_TOKENS, 0.5)  # warms up
    waves = [_spend(client, home, max_tokens, duration_s) for _ in range(rounds)]
    home.delete(_DEPLOYMENT)
    return waves


def _spend(client: StreamClient, home: Home, max_tokens: int, duration_s: float) -> Spent:
    random = Random("paced")
    prompts = [token_ids(PROMPT_TOKENS, random) for _ in range(STREAMS)]
    processes = home.processes()
    before = cpu_s(processes) | {"client": _own_cpu_s()}
    wave = asyncio.run(client.loop(prompts, max_tokens, duration_s))
    after = cpu_s(processes) | {"client": _own_cpu_s()}
    return Spent(wave, {role: after[role] - before.get(role, 0.0) for role in after})


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _tell_tokens(report: Report, steady: list[Spent], flat_out: list[Spent]) -> None:
    report.rows += [
        row(
            "gateway.tokens_per_s_per_core",
            [each.wave.tokens / each.gateway_s for each in steady],
            "tok/s",
            goal=GOAL_TOKENS_PER_S,
        ),
        row("gateway.events_per_token", [_events_per_token(each) for each in steady], "1"),
        row("gateway.tokens_per_s", [each.wave.tokens_per_s for each in flat_out], "tok/s"),
        row(
            "gateway.flat_out_events_per_token", [_events_per_token(each) for each in flat_out], "1"
        ),
    ]
    _tell_cpu(report, "cpu_us_per_token", steady, lambda wave: wave.tokens / 1e6, "µs")


def _tell_requests(report: Report, short: list[Spent]) -> None:
    rates = [each.wave.requests_per_s for each in short]
    per_core = [each.wave.requests / each.gateway_s for each in short]
    report.rows += [
        row("gateway.requests_per_s", rates, "1/s"),
        row("gateway.requests_per_s_per_core", per_core, "1/s"),
    ]
    _tell_cpu(report, "cpu_ms_per_request", short, lambda wave: wave.requests / 1e3, "ms")


def _tell_cpu(
    report: Report, name: str, waves: list[Spent], share: Callable[[Wave], float], unit: str
) -> None:
    for role in sorted({role for each in waves for role in each.cpu_s}):
        costs = [each.cpu_s.get(role, 0.0) / share(each.wave) for each in waves]
        report.rows.append(row(f"{name}.{role}", costs, unit))


def _events_per_token(spent: Spent) -> float:
    return spent.wave.events / spent.wave.tokens

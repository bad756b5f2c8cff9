"""What an open loop sends and when: due times and lengths, made by a rule or replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from loadtests.traces.reader import read_requests
from loadtests.traces.request import at_speed, capped
from loadtests.traffic import arrivals


class Arrivals(StrEnum):
    CLOSED = "closed"
    """Each user sends its next request when the last one has ended: a slow server gets less."""
    CONSTANT = "constant"
    POISSON = "poisson"
    BURSTS = "bursts"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Due:
    """A request and its time, seconds from the start."""

    at_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How an open loop is to be made."""

    arrivals: Arrivals
    rate_per_s: float = 1.0
    burst_size: int = 8
    prompt_tokens: int = 64
    output_tokens: int = 64
    trace: Path | None = None
    speed: float = 1.0
    max_prompt_tokens: int = 1024
    max_output_tokens: int = 256


def schedule(plan: Plan, random: Random) -> Iterator[Due]:
    """Endless, except for a replay.

    Raises:
        ValueError: the plan makes no sense (at once, but for wrong lines of a trace).
    """
    if plan.arrivals is Arrivals.REPLAY:
        return _replay(plan)
    times = {
        Arrivals.CONSTANT: lambda: arrivals.constant(plan.rate_per_s),
        Arrivals.POISSON: lambda: arrivals.poisson(plan.rate_per_s, random),
        Arrivals.BURSTS: lambda: arrivals.bursts(plan.rate_per_s, plan.burst_size, random),
    }
    if plan.arrivals not in times:
        raise ValueError("a closed loop has no schedule")
    due_times = times[plan.arrivals]()
    return (Due(at_s, plan.prompt_tokens, plan.output_tokens) for at_s in due_times)


def _replay(plan: Plan) -> Iterator[Due]:
    if plan.trace is None:
        raise ValueError("a replay needs a trace: name its file with --trace")
    requests = at_speed(read_requests(plan.trace), plan.speed)
    fitting = (capped(each, plan.max_prompt_tokens, plan.max_output_tokens) for each in requests)
    return (
        Due(each.arrival_s, max(1, each.prompt_tokens), max(1, each.output_tokens))
        for each in fitting
    )

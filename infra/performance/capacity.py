"""What one replica serves within its SLO: requests and tokens per second.

In the steady state of continuous batching with chunked prefill (Sarathi-Serve, OSDI'24) each
sequence that ends is followed by another, so a step of B sequences holds B * prompt / output tokens
of prompts. The batch is the largest whose step is no longer than the TPOT, whose prompts are read
within the TTFT, and whose KV cache fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from infra.performance.step_time import StepTime

_CHUNK_TOKENS = 512
PROMISED_SHARE = 0.8
"""Of the throughput, at most: at all of it, queues grow without bound."""


class SloUnreachable(ValueError):
    """Not even one sequence at a time meets the SLO; the message has the numbers."""


@dataclass(frozen=True, slots=True)
class Slo:
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class RequestMix:
    """Means over requests."""

    prompt_tokens: float
    """That are not found in the prefix cache."""
    output_tokens: float
    cached_tokens: float = 0.0
    """Of the prompt, found in the cache: no work, but context."""

    @property
    def held_tokens(self) -> float:
        """Of the KV cache, by a sequence in the middle of its life."""
        return self.cached_tokens + self.prompt_tokens + self.output_tokens / 2


@dataclass(frozen=True, slots=True)
class Capacity:
    sequences: int
    """Running at once."""
    step_s: float
    ttft_s: float
    """Of a request that need not wait for its turn."""
    requests_per_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    limited_by: str
    """What keeps the batch from growing: "tpot", "ttft", "kv" or "max_running"."""


def capacity(
    time: StepTime, mix: RequestMix, slo: Slo, kv_tokens: int, max_running: int = 256
) -> Capacity:
    """The largest batch within every limit, and what it serves.

    Raises:
        SloUnreachable: one sequence alone is too slow, or too large.
    """
    room = math.floor(kv_tokens / mix.held_tokens)
    if room < 1:
        raise SloUnreachable(
            f"a request holds {mix.held_tokens:.0f} tokens of KV cache, a replica has {kv_tokens}"
        )
    ceiling = min(room, max_running)
    best = _most(ceiling, lambda batch: _within(time, mix, slo, batch))
    if best < 1:
        raise SloUnreachable(
            f"alone, a request of {mix.prompt_tokens:.0f} tokens has its first one after "
            f"{_ms(_ttft_s(time, mix, 1))} ms ({_slo(slo.ttft_s)}) and another every "
            f"{_ms(_step_s(time, mix, 1))} ms ({_slo(slo.tpot_s)})"
        )
    step_s = _step_s(time, mix, best)
    requests_per_s = PROMISED_SHARE * best / (step_s * max(1.0, mix.output_tokens))
    return Capacity(
        sequences=best,
        step_s=step_s,
        ttft_s=_ttft_s(time, mix, best),
        requests_per_s=requests_per_s,
        prefill_tokens_per_s=requests_per_s * mix.prompt_tokens,
        decode_tokens_per_s=requests_per_s * mix.output_tokens,
        limited_by=_limit(time, mix, slo, best, room, max_running),
    )


def _ms(seconds: float) -> str:
    """Small ones with what tells them apart: 0.3 is not met by 0.4."""
    return f"{seconds * 1000:.0f}" if seconds >= 1.0 else f"{seconds * 1000:.3g}"


def _slo(limit_s: float) -> str:
    return "no SLO" if math.isinf(limit_s) else f"SLO {_ms(limit_s)}"


def _step_s(time: StepTime, mix: RequestMix, batch: int) -> float:
    chunk = batch * mix.prompt_tokens / max(1.0, mix.output_tokens)
    context = batch * mix.held_tokens
    return time.mixed(batch, round(context), math.ceil(chunk), round(mix.prompt_tokens / 2))


def _ttft_s(time: StepTime, mix: RequestMix, batch: int) -> float:
    """Its chunks, each in a step with the others' decodes."""
    others, left, done = batch - 1, math.ceil(mix.prompt_tokens), round(mix.cached_tokens)
    context, elapsed_s = round(others * mix.held_tokens), 0.0
    while left > 0:
        chunk = min(left, _CHUNK_TOKENS)
        elapsed_s += time.mixed(others, context, chunk, done)
        done, left = done + chunk, left - chunk
    return elapsed_s


def _within(time: StepTime, mix: RequestMix, slo: Slo, batch: int) -> bool:
    fast = _step_s(time, mix, batch) <= slo.tpot_s
    return fast and _ttft_s(time, mix, batch) <= slo.ttft_s


def _limit(
    time: StepTime, mix: RequestMix, slo: Slo, best: int, room: int, max_running: int
) -> str:
    if best == room:
        return "kv"
    if best == max_running:
        return "max_running"
    return "tpot" if _step_s(time, mix, best + 1) > slo.tpot_s else "ttft"


def _most(ceiling: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to the ceiling for which it holds; it holds for all below one."""
    low, high = 0, ceiling
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low

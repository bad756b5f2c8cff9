"""What the serving path adds to the time to the first token, from the spans of single requests.

Added is what is not the engine's: from the arrival of the request to its lease, and from the end of
the engine's step that gave the first token to the first write to the client. Between the two a job
waits for the engine's current step to end, and for its own. All times are read on one machine,
whose processes share one monotonic clock (`spans.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from infra.extras import install_command
from loadtests.benchmarks.report import Report, row
from loadtests.benchmarks.spans import Span, ms, read_spans
from loadtests.benchmarks.stream_client import StreamClient
from loadtests.traffic.prompts import text

STREAMS = 8
PROMPT_TOKENS = 32
OUTPUT_TOKENS = range(8, 25)
"""Of different lengths, so that the streams do not all ask at the same moment."""
_APART_S = 0.1
"""Between the first requests of two streams."""
GOAL_MS = 10.0
_NAMES = ("tokenise", "offer", "lease", "first token", "deliver")
_WRITTEN_LIMIT_S = 10.0
_LOOK_EVERY_S = 0.05


class SpansMissing(RuntimeError):
    """A request left no trace, or only a part of it."""


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The way of one request to its first token, in milliseconds."""

    receive_to_lease_ms: float
    commit_to_write_ms: float
    parts_ms: dict[str, float]

    @property
    def added_ms(self) -> float:
        return self.receive_to_lease_ms + self.commit_to_write_ms

    @classmethod
    def of(cls, spans: Sequence[Span]) -> FirstToken | None:
        """None while a span is missing."""
        named = {each.name: each for each in spans}
        request = next((each for each in spans if each.name.startswith("POST ")), None)
        if request is None or not named.keys() >= set(_NAMES):
            return None
        tokenise, offer, lease, first, deliver = (named[each] for each in _NAMES)
        return cls(
            ms(request.began_ns, lease.ended_ns),
            ms(first.ended_ns, deliver.ended_ns),
            {
                "receive_to_tokenise": ms(request.began_ns, tokenise.began_ns),
                "tokenise": tokenise.elapsed_ms,
                "tokenised_to_offer": ms(tokenise.ended_ns, offer.began_ns),
                "offer_to_lease": ms(offer.began_ns, lease.ended_ns),
                "engine": first.elapsed_ms,
                "commit_to_read": ms(first.ended_ns, deliver.began_ns),
                "read_to_write": deliver.elapsed_ms,
            },
        )


def measure(report: Report, client: StreamClient, spans: Path, requests: int) -> None:
    """`requests` by each of 8 streams, one after the other; then as many waves of 8 at once."""
    loop = asyncio.run(_closed_loop(client, requests))
    waves = [trace for _ in range(requests) for trace in asyncio.run(_wave(client))]
    wanted = read_when_written(spans, [*loop, *waves])
    steady = [wanted[each] for each in loop]
    at_once = [wanted[each] for each in waves]
    name = f"added_ttft_ms.{STREAMS}_streams"
    report.rows += [
        row(name, [each.added_ms for each in steady], "ms", goal=GOAL_MS, less_is_better=True),
        row(f"added_ttft_ms.{STREAMS}_at_once", [each.added_ms for each in at_once], "ms"),
    ]
    for part in steady[0].parts_ms:
        values = [each.parts_ms[part] for each in steady]
        report.rows.append(row(f"first_token_ms.{part}", values, "ms"))
    report.notes.append(
        f"added_ttft_ms: receive -> lease plus first-token commit -> client write, of "
        f"{len(steady)} requests of {STREAMS} streams in a closed loop and of {len(at_once)} that "
        f"came {STREAMS} at a time; first_token_ms has its parts, and the engine's between them"
    )


async def _closed_loop(client: StreamClient, requests: int) -> list[str]:
    """Trace ids."""

    async def stream(number: int) -> list[str]:
        random = Random(f"added-ttft/{number}")
        await asyncio.sleep(number * _APART_S)
        return [await _ask(client, random) for _ in range(requests)]

    lists = await asyncio.gather(*map(stream, range(STREAMS)))
    return [trace for traces in lists for trace in traces]


async def _wave(client: StreamClient) -> list[str]:
    randoms = [Random(f"added-ttft/wave/{number}") for number in range(STREAMS)]
    return await asyncio.gather(*(_ask(client, random) for random in randoms))


async def _ask(client: StreamClient, random: Random) -> str:
    trace_id = secrets.token_hex(16)
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    await client.stream(text(PROMPT_TOKENS, random), random.choice(OUTPUT_TOKENS), traceparent)
    return trace_id


def read_when_written(path: Path, trace_ids: Sequence[str]) -> dict[str, FirstToken]:
    """Processes write their spans a moment later.

    Raises:
        SpansMissing: some are not there in time.
    """
    deadline = time.monotonic() + _WRITTEN_LIMIT_S
    while True:
        spans = read_spans(path)
        known = {each: found for each in trace_ids if (found := FirstToken.of(spans[each]))}
        if len(known) == len(trace_ids):
            return known
        if time.monotonic() > deadline:
            raise SpansMissing(
                f"{len(trace_ids) - len(known)} of {len(trace_ids)} requests are not traced "
                f"as a whole; is the SDK there? {install_command('tracing')}"
            )
        time.sleep(_LOOK_EVERY_S)

"""The spans of a real agent: the lease of a traced job, and the work until its first token."""

from __future__ import annotations

import time
from pathlib import Path

from redis.asyncio import Redis

from infra.embedded import EmbeddedValkey
from infra.states import ReplicaState
from loadtests.benchmarks.spans import read_spans
from tests.fixtures.requirements import imported
from tests.fixtures.waiting import wait_until
from tests.worker.agent.consumer import Consumer
from tests.worker.agent.stage import staged

imported("tracing", "opentelemetry.sdk")

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


async def test_a_traced_job_has_two_spans_and_another_none(
    tmp_path: Path, valkey: Redis, valkey_server: EmbeddedValkey
) -> None:
    file = tmp_path / "spans.jsonl"
    traced = {"TAMER_TRACE_FILE": str(file), "OTEL_BSP_SCHEDULE_DELAY": "20"}
    async with (
        staged(tmp_path, valkey, valkey_server.url) as stage,
        Consumer(valkey, "revision").running() as consumer,
    ):
        agent = await stage.agent("instance-a", **traced)
        await agent.assign(stage.replica("replica-a"))
        await agent.until("replica-a", ReplicaState.READY)
        asked_ns = time.monotonic_ns()
        plain = await consumer.ask("job-plain", [1, 2], 3)
        context = f"00-{TRACE_ID}-b7ad6b7169203331-01"
        stream = await consumer.ask("job-traced", [1, 2], 3, traceparent=context)
        await wait_until(lambda: stream.finish is not None, "the traced job finishes")
        await wait_until(lambda: plain.finish is not None, "the other job finishes")
        answered_ns = time.monotonic_ns()
        await wait_until(lambda: len(read_spans(file)[TRACE_ID]) == 2, "both spans are written")
    found = read_spans(file)
    assert list(found) == [TRACE_ID]
    lease, first = sorted(found[TRACE_ID], key=lambda each: each.ended_ns)
    assert (lease.name, first.name) == ("lease", "first token")
    assert asked_ns < lease.ended_ns == first.began_ns < first.ended_ns < answered_ns

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from infra.embedded import EmbeddedValkey
from infra.states import ReplicaState
from infra.wire import ReplicaReport
from tests.fixtures.metric_samples import scraped, value
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import eventually
from tests.worker.agent.consumer import Consumer
from tests.worker.agent.stage import Stage, staged
from worker.agent.metrics import EngineMetrics


def _report(replica_id: str, **values: int) -> ReplicaReport:
    return ReplicaReport(replica_id, ReplicaState.READY, **values)  # type: ignore[arg-type]


def test_replicas_of_a_revision_are_shown_together() -> None:
    revisions = {"a": "rev", "b": "rev", "c": "other"}
    EngineMetrics().see(
        [
            _report("a", running=2, waiting=1, kv_tokens_used=50, kv_tokens_total=100),
            _report("b", running=1, kv_tokens_used=10, kv_tokens_total=100),
            _report("c", running=7),
        ],
        revisions,
    )
    assert value("num_requests_running", revision="rev") == 3
    assert value("num_requests_waiting", revision="rev") == 1
    assert value("kv_cache_usage_perc", revision="rev") == pytest.approx(0.3)
    assert value("num_requests_running", revision="other") == 7
    assert value("agent_replicas", state="ready") == 3


def test_tokens_of_engines_only_grow_when_a_replica_goes_and_another_comes() -> None:
    metrics, revisions = EngineMetrics(), {"a": "rev-t", "b": "rev-t"}
    metrics.see([_report("a", output_tokens=10)], revisions)
    metrics.see([_report("a", output_tokens=15)], revisions)
    metrics.see([_report("b", output_tokens=4)], revisions)
    metrics.see([], {})
    assert value("engine_generation_tokens_total", revision="rev-t") == 19
    assert value("num_requests_running", revision="rev-t") == 0


def test_what_the_prefix_cache_spared_is_counted() -> None:
    metrics, revisions = EngineMetrics(), {"a": "rev-p"}
    metrics.see([_report("a", prefix_queried_tokens=100, prefix_hit_tokens=64)], revisions)
    metrics.see([_report("a", prefix_queried_tokens=150, prefix_hit_tokens=96)], revisions)
    assert value("prefix_cache_queries_total", revision="rev-p") == 150
    assert value("prefix_cache_hits_total", revision="rev-p") == 96
    assert value("num_preemptions_total", revision="rev-p") == 0


@pytest.fixture
async def stage(
    tmp_path: Path, valkey: Redis, valkey_server: EmbeddedValkey
) -> AsyncIterator[Stage]:
    async with staged(tmp_path, valkey, valkey_server.url) as stage:
        yield stage


@pytest.mark.skipif(sys.platform != "linux", reason="agents read /proc")
async def test_an_agent_serves_the_numbers_of_its_engine(stage: Stage, valkey: Redis) -> None:
    port = free_port()
    agent = await stage.agent("instance-m", TAMER_METRICS_PORT=str(port))
    await agent.assign(stage.replica("replica-m"))
    await agent.until("replica-m", ReplicaState.READY)
    async with Consumer(valkey, "revision").running() as consumer, httpx.AsyncClient() as client:
        await consumer.ask("job", [1, 2], 12)

        async def told() -> bool:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            name = "engine_generation_tokens_total"
            return scraped(text).get((name, frozenset({("revision", "revision")}))) == 12

        await eventually(told)

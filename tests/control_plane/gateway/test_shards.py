"""One shard of a cluster is away; the queues of the others go on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from tokenizers import Tokenizer

from infra.connection import at_key, connect
from infra.embedded import EmbeddedValkey
from infra.queue.queue import base_key
from infra.settings import Settings
from infra.wire import FinishReason, Target, TextAssets
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.valkey_cluster import ValkeyCluster
from tests.fixtures.waiting import eventually

EPOCH = "tamer:epoch"
CONSUMER_LEASE_S = 4.0


@pytest.fixture
def partial_cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    """It serves what it has."""
    cluster = ValkeyCluster(tmp_path / "nodes", "--cluster-require-full-coverage", "no")
    cluster.start()
    yield cluster
    cluster.kill()


async def test_a_shard_that_is_away_costs_no_gateway_its_lease_on_another(
    partial_cluster: ValkeyCluster,
    valkey_server: EmbeddedValkey,
    valkey: Redis,
    settings: Settings,
    tokenizer: Tokenizer,
    assets: TextAssets,
) -> None:
    lost = partial_cluster.owner(EPOCH)
    revision = next(
        name
        for name in (f"rev-{number}" for number in itertools.count())
        if partial_cluster.owner(base_key(name)) is not lost
    )
    changes = {
        "jobs_url": partial_cluster.url,
        "tokens_url": valkey_server.url,
        "consumer_lease_s": CONSUMER_LEASE_S,
    }
    jobs = connect(partial_cluster.url)
    gateway = Gateway(settings.model_copy(update=changes), jobs, assets)
    replica = Replica(jobs, tokenizer, tokens=valkey, revision=revision)
    await gateway.start()
    await gateway.publish(targets=[Target(revision)])
    consumers = f"{base_key(revision)}:consumers"

    async def lease_until_ms() -> float:
        """By the clock of the shard."""
        [(_, until_ms)] = await jobs.zrange(consumers, 0, -1, withscores=True)
        return float(until_ms)

    async def attended() -> bool:
        """A new consumer has half a minute until it comes for the first time."""
        now: Any = await at_key(jobs, consumers, "TIME")
        return await lease_until_ms() < 1000 * (now[0] + 2 * CONSUMER_LEASE_S)

    async with gateway.http() as client:
        body = {"model": MODEL, "prompt": "x"}
        asking = asyncio.create_task(client.post("/v1/completions", json=body))
        lease, _ = await replica.take()
        await eventually(attended)
        lost.kill()
        last_before_ms = await lease_until_ms()

        async def renewed_after_the_end_of_that_lease() -> bool:
            await replica.queue.sweep()
            return await lease_until_ms() > last_before_ms + 1000 * CONSUMER_LEASE_S

        await eventually(renewed_after_the_end_of_that_lease, 5 * CONSUMER_LEASE_S)
        await replica.say(lease, 0, replica.ids("still here"), FinishReason.STOP)
        answer = await asking
    assert answer.json()["choices"][0]["text"] == "still here"

    async def settled() -> bool:
        return (await replica.queue.balance()).pending == 0

    await eventually(settled)
    assert (await replica.queue.balance()).completed == 1
    await gateway.stop()
    await jobs.aclose()

"""What an agent hears of its machine's end, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from infra.embedded import EmbeddedValkey
from infra.ending import end_tasks
from infra.states import ReplicaState
from loadtests.ec2.metadata import Metadata
from tests.fixtures.waiting import wait_until
from tests.worker.agent.stage import staged
from worker.agent.notices import Notices

_INTERRUPTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


@contextlib.asynccontextmanager
async def watching(metadata: Metadata) -> AsyncIterator[asyncio.Event]:
    """The event is set by the order to leave."""
    left = asyncio.Event()
    task = asyncio.create_task(Notices(metadata.url, poll_s=0.01).watch(left.set))
    try:
        yield left
    finally:
        await end_tasks(task)


async def looked(metadata: Metadata, path: str = _INTERRUPTION) -> None:
    before = metadata.asked[path]
    await wait_until(lambda: metadata.asked[path] > before + 1, f"it looked at {path}")


async def test_an_interruption_is_an_order_to_leave(metadata: Metadata) -> None:
    async with watching(metadata) as left:
        await looked(metadata)
        assert not left.is_set()
        metadata.interrupt()
        await wait_until(left.is_set, "it leaves")
    assert metadata.without_token == 0


async def test_a_rebalance_recommendation_is_none(metadata: Metadata) -> None:
    metadata.recommend_rebalance()
    async with watching(metadata) as left:
        await looked(metadata)
        assert metadata.asked[_REBALANCE] == 1
        assert not left.is_set()


async def test_a_token_that_became_too_old_is_renewed(metadata: Metadata) -> None:
    async with watching(metadata) as left:
        await looked(metadata)
        metadata.tokens.clear()
        metadata.interrupt()
        await wait_until(left.is_set, "it leaves")


@pytest.mark.parametrize("said", [[], "soon", {"when": 1}])
async def test_an_answer_that_is_none_is_no_order(metadata: Metadata, said: object) -> None:
    metadata.said[_INTERRUPTION] = said
    async with watching(metadata) as left:
        await looked(metadata)
        assert not left.is_set()


async def test_a_service_that_was_ill_is_asked_again(metadata: Metadata) -> None:
    metadata.ill = True
    async with watching(metadata) as left:
        await looked(metadata)
        assert not left.is_set()
        metadata.ill = False
        metadata.interrupt()
        await wait_until(left.is_set, "it leaves")


@pytest.mark.skipif(sys.platform != "linux", reason="reads parent deaths")
async def test_an_agent_drains_and_leaves_when_its_machine_is_interrupted(
    tmp_path: Path, valkey: Redis, valkey_server: EmbeddedValkey, metadata: Metadata
) -> None:
    async with staged(tmp_path, valkey, valkey_server.url) as stage:
        agent = await stage.agent("instance-a", TAMER_IMDS_URL=metadata.url)
        await agent.assign(stage.replica("replica-a"))
        await agent.until("replica-a", ReplicaState.READY)
        metadata.interrupt()
        assert await agent.ended() == 0
        assert "the cloud takes this machine away" in agent.log.read_text()

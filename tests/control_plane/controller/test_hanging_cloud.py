"""A cloud that takes every question and answers none: passes go on with what it last said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from control_plane.controller import question, sight
from control_plane.store.session import Database
from control_plane.store.tables import Deployment
from infra.cloud.base import CloudInstance, CloudOffer, LaunchRequest, Notice
from infra.settings import Settings
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.market_cloud import MarketCloud


class HangingCloud(MarketCloud):
    """As long as `free` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()
        self.ended: list[str] = []

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        await self.free.wait()
        return await super().launch(request)

    async def describe(self) -> Sequence[CloudInstance]:
        await self.free.wait()
        return await super().describe()

    async def terminate(self, instance_id: str) -> None:
        self.ended.append(instance_id)
        await self.free.wait()
        await super().terminate(instance_id)

    async def offers(self) -> Sequence[CloudOffer]:
        await self.free.wait()
        return await super().offers()

    async def notices(self) -> Sequence[Notice]:
        await self.free.wait()
        return await super().notices()

    async def acknowledge(self, notices: Sequence[Notice]) -> None:
        await self.free.wait()
        await super().acknowledge(notices)


class Hung(Cell):
    cloud: HangingCloud

    async def passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some, in which every agent speaks and Celery's hands rest; one that waits for what the
        first has asked waits for ever."""
        await self.controller.reconcile()
        monkeypatch.setattr(question, "_MOMENT_S", 3600.0)
        async with asyncio.timeout(60.0):
            for _ in range(8):
                await self.controller.reconcile()
                await self.beat()

    async def ready(self, name: str) -> Deployment:
        deployment = await self.deploy(await self.model(name), name, min_replicas=1)
        return await self.until_state(deployment, "ready")


@pytest.fixture
async def hung(
    store_settings: Settings, database: Database, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> Hung:
    monkeypatch.setattr("control_plane.controller.notice._PAUSE_S", 0.0)
    changes = {
        "cloud": "aws",
        "instance_lost_s": 30.0,
        "join_limit_s": 30.0,
        "drain_limit_s": 0.5,
        "aws_describe_s": 0.0,
        "aws_unseen_s": 0.01,
    }
    return Hung(store_settings.model_copy(update=changes), database, valkey, HangingCloud())


@pytest.mark.parametrize("believed_s", [30.0, 0.0])
async def test_passes_go_on_and_end_nothing_that_they_cannot_see(
    hung: Hung, monkeypatch: pytest.MonkeyPatch, believed_s: float
) -> None:
    first = await hung.ready("first")
    monkeypatch.setattr(sight, "_BELIEVED_S", believed_s)
    hung.cloud.free.clear()
    await hung.passes(monkeypatch)
    assert (await hung.deployment(first)).state == "ready"
    assert [each.state for each in await hung.instances()] == ["joined"]
    assert hung.mailbox.operation_ids == []
    hung.cloud.free.set()
    await hung.quiet()
    assert (hung.cloud.launches, hung.cloud.ended) == (1, [])


async def test_what_is_placed_meanwhile_is_launched_once(
    hung: Hung, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hung.ready("first")
    hung.cloud.free.clear()
    second = await hung.deploy(await hung.model("second"), "second", min_replicas=1)
    await hung.passes(monkeypatch)
    [placing] = await hung.decisions(second, "place")
    assert placing.inputs["offers_age_s"] >= 0.0
    [launch] = hung.mailbox.operation_ids
    tried = asyncio.create_task(hung.carry_out(launch))
    await hung.passes(monkeypatch)
    assert hung.mailbox.operation_ids == [launch]
    hung.cloud.free.set()
    await tried
    hung.mailbox.operation_ids.clear()
    await hung.until_state(second, "ready")
    await hung.quiet()
    assert (hung.cloud.launches, hung.cloud.ended) == (2, [])

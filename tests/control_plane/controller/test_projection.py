"""What gateways are told."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from control_plane.store.clock import read_clock
from control_plane.store.repositories import keys, replicas
from control_plane.store.tables import ApiKey, Deployment, Start
from infra.wire import Projection
from tests.control_plane.controller.cell import TEXT, Cell, folder_of


async def told(cell: Cell, timeout_s: float = 2.0) -> Projection:
    await cell.controller.project()
    projection = await cell.projections.next(timeout_s)
    assert projection is not None
    return projection


async def test_a_route_says_what_a_gateway_needs(cell: Cell) -> None:
    model = await cell.model()
    chat = await cell.deploy(model, min_replicas=1, cold_start_limit_s=33.0)
    await cell.until_state(chat, "ready")
    [route] = (await told(cell)).routes
    assert (route.deployment_id, route.name) == (chat.id, "chat")
    assert [each.revision_id for each in route.targets] == [chat.revision_id]
    assert (route.max_context_tokens, route.vocabulary_size) == (1024, 100)
    assert (route.ready_replicas, route.queue_limit_s, route.unavailable) == (1, 33.0, "")
    assert await cell.projections.text(route.text_digest) == TEXT


async def test_a_route_at_zero_says_how_long_its_replicas_took_to_start(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    assert [each.boot_s for each in (await told(cell)).routes] == [0.0], "one is ready"
    async with cell.database.transaction() as session:
        [replica] = await replicas.live(session)
        replica.state = "failed"
        [start] = await session.scalars(select(Start))
        start.ready_at = start.created_at + 42.0
    [route] = (await told(cell)).routes
    assert (route.boot_s, route.boot_p90_s) == (42.0, 84.0), "of one start nobody knows the spread"


async def test_it_is_published_again_with_a_higher_version_though_nothing_changes(
    cell: Cell,
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(cell.controller.run(stop))
    first = await cell.projections.next(5.0)
    second = await cell.projections.next(5.0)
    stop.set()
    await running
    assert first is not None
    assert second is not None
    assert second.version > first.version
    assert (second.routes, second.keys) == (first.routes, first.keys)


async def test_a_revoked_key_is_gone_at_once(cell: Cell) -> None:
    async with cell.database.transaction() as session:
        key = await keys.add(session, "k", "hash-of-k", "default", ["inference"], 1.0)
    assert [each.hash for each in (await told(cell)).keys] == ["hash-of-k"]
    async with cell.database.transaction() as session:
        row = await session.get_one(ApiKey, key.id)
        row.revoked_at = await read_clock(session)
    assert (await told(cell)).keys == []


async def test_a_text_that_redis_lost_is_published_again(cell: Cell) -> None:
    await cell.deploy(await cell.model())
    [route] = (await told(cell)).routes
    await cell.jobs.flushall()
    await cell.controller.project()
    assert await cell.projections.text(route.text_digest) == TEXT


@pytest.mark.parametrize("damage", ["missing", "nonsense", "another"])
async def test_a_model_whose_text_is_damaged_is_unavailable_and_says_why(
    cell: Cell, damage: str
) -> None:
    model = await cell.model()
    text = folder_of(model) / "text.json"
    if damage == "missing":
        text.unlink()
    else:
        text.write_text("{" if damage == "nonsense" else '{"tokenizer_json": "[]"}')
    await cell.deploy(model)
    [route] = (await told(cell)).routes
    assert "import" in route.unavailable


async def test_the_text_of_a_model_that_nobody_serves_is_dropped(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model())
    [route] = (await told(cell)).routes
    async with cell.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleted"
    assert (await told(cell)).routes == []
    assert await cell.projections.text(route.text_digest) is None

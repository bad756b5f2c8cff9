"""Machines that joined: used before anything is launched, and left alone by what ends instances."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from control_plane.store.repositories import instances, listings, machines
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database
from control_plane.store.tables import Instance
from infra.cloud.joined import JoinedCloud
from infra.registry import AgentRegistry
from infra.settings import Settings
from infra.states import InstanceState
from infra.wire import WIRE_VERSION, Heartbeat
from tests.control_plane.controller.cell import Cell


async def _join(cell: Cell, slots: int = 1) -> str:
    async with cell.database.transaction() as session:
        machine = await machines.add(session, "spare", f"hash-{slots}", 60.0)
        devices = {"devices": ["cpu"] * slots}
        instance = await machines.begin_instance(session, machine, "cpu", devices)
    await _beat(cell.jobs, instance.id)
    return instance.id


async def _beat(jobs: Redis, instance_id: str, sequence: int = 1) -> None:
    heartbeat = Heartbeat(instance_id, WIRE_VERSION, "build", sequence, 0)
    await AgentRegistry(jobs, instance_id).beat(heartbeat, ttl_s=60.0)


async def _row(cell: Cell, instance_id: str) -> Instance:
    async with cell.database.snapshot() as session:
        return await session.get_one(Instance, instance_id)


async def test_replicas_fill_the_slots_of_a_machine_before_anything_is_launched(
    cell: Cell,
) -> None:
    instance_id = await _join(cell, slots=2)
    await cell.deploy(await cell.model(), min_replicas=3, max_replicas=3)

    async def placed() -> bool:
        return all(each.instance_id for each in await cell.replicas()) and bool(
            await cell.replicas()
        )

    await cell.until(placed)
    on = [each.instance_id for each in await cell.replicas()]
    assert on.count(instance_id) == 2
    assert cell.cloud.launches == 1
    async with cell.database.snapshot() as session:
        told = await instances.assignment(session, instance_id)
    assert told is not None
    assert len(told.replicas) == 2
    assert all(each.model_uri.startswith("tamer://models/") for each in told.replicas)


async def test_a_machine_outlives_its_last_replica_and_a_silent_cloud(cell: Cell) -> None:
    instance_id = await _join(cell)
    deployment = await cell.deploy(await cell.model(), min_replicas=1, max_replicas=1)

    async def placed() -> bool:
        return any(each.instance_id == instance_id for each in await cell.replicas())

    await cell.until(placed)
    async with cell.database.transaction() as session:
        row = await session.merge(await cell.deployment(deployment))
        row.state = "deleting"
    await cell.until_state(deployment, "deleted")
    cell.cloud.broken = True
    await cell.quiet()
    assert (await _row(cell, instance_id)).state == "joined"


async def test_a_lost_machine_ends_without_any_termination(cell: Cell) -> None:
    instance_id = await _join(cell)
    async with cell.database.transaction() as session:
        seen, lost = InstanceState.JOINED, InstanceState.LOST
        assert await instances.move(session, instance_id, seen, lost, "silent for 30 s")
    await cell.quiet()
    row = await _row(cell, instance_id)
    assert (row.state, row.reason) == ("terminated", "silent for 30 s")
    async with cell.database.snapshot() as session:
        assert (await listings.operations(session, Page(), ended=True)).rows == []


@pytest.fixture
async def lonely_cell(store_settings: Settings, database: Database, valkey: Redis) -> Cell:
    """Where nothing can be launched."""
    cell = Cell(store_settings.model_copy(update={"cloud": "joined"}), database, valkey)
    cell.cloud = JoinedCloud()  # type: ignore[assignment]
    cell.controller = cell.new_controller()
    return cell


async def test_without_a_cloud_a_replica_waits_for_a_machine_and_says_so(
    lonely_cell: Cell,
) -> None:
    cell = lonely_cell
    deployment = await cell.deploy(await cell.model(), min_replicas=1, max_replicas=1)
    for _ in range(5):
        await cell.controller.reconcile()
    [waiting] = await cell.replicas()
    assert (waiting.state, waiting.instance_id) == ("requested", None)
    assert "tamer worker token" in waiting.reason
    assert (await cell.deployment(deployment)).state == "deploying"
    instance_id = await _join(cell)
    await cell.controller.reconcile()
    [placed] = await cell.replicas()
    assert placed.instance_id == instance_id

"""What passes read of the store is what the store says, and what nobody wrote is not read twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.live import Live, LiveRows
from control_plane.store import leases
from control_plane.store.repositories import deployments, instances, replicas
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Instance, Replica
from infra.states import InstanceState, ReplicaState
from tests.control_plane.store.rows import add_deployment, add_instance, add_model
from tests.fixtures.database import on_postgresql_alone

Rows = tuple[Deployment, list[Replica], list[Instance]]
Change = Callable[[AsyncSession, Rows], Awaitable[object]]


@pytest.fixture
async def rows(database: Database) -> Rows:
    async with database.transaction() as session:
        chat = await add_deployment(session, await add_model(session))
        added = [await replicas.add(session, chat) for _ in range(3)]
        return chat, added, [await add_instance(session) for _ in range(3)]


async def _said(live: LiveRows) -> list[tuple[object, ...]]:
    """All that matters of the rows, as lists of plain values."""
    return _values(await live.read())


def _values(read: Live) -> list[tuple[object, ...]]:
    return [
        *((each.deployment.name, each.deployment.target_replicas) for each in read.deployments),
        *(
            (each.id, each.state, each.retiring, each.instance_id)
            for each in read.replicas.values()
        ),
        *((each.id, each.state, each.assignment_version) for each in read.instances.values()),
    ]


async def _assign(session: AsyncSession, rows: Rows) -> None:
    await instances.change_assignment(session, rows[2][1].id)


async def _fail(session: AsyncSession, rows: Rows) -> None:
    asked, failed = ReplicaState.REQUESTED, ReplicaState.FAILED
    assert await replicas.move(session, rows[1][0].id, asked, failed, "broken")


async def _end(session: AsyncSession, rows: Rows) -> None:
    asked, ended = InstanceState.REQUESTED, InstanceState.TERMINATED
    assert await instances.move(session, rows[2][2].id, asked, ended, "not needed")


async def _add(session: AsyncSession, rows: Rows) -> None:
    await replicas.add(session, await session.get_one(Deployment, rows[0].id))


async def _deploy(session: AsyncSession, _rows: Rows) -> None:
    await add_deployment(session, await add_model(session, "other"), "another")


async def _spare(session: AsyncSession, rows: Rows) -> None:
    row = await session.get_one(Deployment, rows[0].id)
    row.target_replicas += 1


@pytest.mark.parametrize("change", [_assign, _fail, _end, _add, _deploy, _spare])
async def test_whatever_somebody_writes_is_read_by_the_next_pass(
    database: Database, rows: Rows, change: Change
) -> None:
    live = LiveRows(database)
    before = await _said(live)
    async with database.transaction() as session:
        await change(session, rows)
    assert await _said(live) == before, "one reading serves a pass"
    live.forget()
    after = await _said(live)
    assert after != before
    assert after == await _said(LiveRows(database))


async def test_what_a_noun_touched_and_another_wrote_later_is_read_by_the_next_pass(
    database: Database, rows: Rows
) -> None:
    live, replica = LiveRows(database), rows[1][0]
    await live.read()
    steps = (ReplicaState.REQUESTED, ReplicaState.LAUNCHING, ReplicaState.BOOTING)
    for seen, to in pairwise(steps):
        async with database.transaction() as session:
            assert await replicas.move(session, replica.id, seen, to, "")
        live.touched.replicas.add(replica.id)
        assert (await live.read()).replicas[replica.id].state == to
    async with database.transaction() as session:
        assert await replicas.move(
            session, replica.id, ReplicaState.BOOTING, ReplicaState.FAILED, "broken"
        )
    live.forget()
    assert await _said(live) == await _said(LiveRows(database))


@on_postgresql_alone
async def test_what_nobody_wrote_is_not_read_again(database: Database, rows: Rows) -> None:
    live = LiveRows(database)
    before = await live.read()
    async with database.transaction() as session:
        await leases.take(session, Replica, rows[1][1].id, 60.0)
    live.forget()
    after = await live.read()
    again = [before.replicas[id] is each for id, each in after.replicas.items()]
    assert again == [True, False, True]
    assert all(after.instances[id] is each for id, each in before.instances.items())
    assert after.deployments[0] is before.deployments[0]


@on_postgresql_alone
async def test_a_row_has_another_version_after_each_write(database: Database, rows: Rows) -> None:
    seen = set()
    for _ in range(3):
        async with database.transaction() as session:
            await leases.take(session, Replica, rows[1][0].id, 0.0)
            await leases.take(session, Replica, rows[1][0].id, 0.0)
        async with database.snapshot() as session:
            versions = await replicas.versions(session)
            seen.add(versions[rows[1][0].id])
            assert list(await deployments.versions(session)) == [rows[0].id]
    assert len(seen) == 3

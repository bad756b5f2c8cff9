"""A pass asks the store as much of a large fleet as of a small one, and finds it by an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import select

from control_plane.controller.census import Census
from control_plane.controller.loop import Controller
from control_plane.ledger.charge import Charge, Share
from control_plane.store.clock import read_clock
from control_plane.store.repositories import budgets, charges, deployments
from control_plane.store.session import Database
from control_plane.store.tables import Instance
from infra.registry import AgentRegistry
from infra.settings import Settings
from infra.states import ReplicaState
from infra.wire import WIRE_VERSION, Heartbeat, ReplicaReport
from loadtests.benchmarks.control_plane.controller_process import FleetCloud
from loadtests.benchmarks.control_plane.demand import Demand
from loadtests.benchmarks.control_plane.fleet import Fleet, Settled, Size, settle
from loadtests.benchmarks.control_plane.hands import add_machines
from tests.control_plane.controller.asked import Asked, asked, plan_of
from tests.control_plane.controller.mailbox import Mailbox
from tests.fixtures.database import on_postgresql_alone

_FEW = Size(deployments=2, replicas=4, instances=2, ended=20)
_MANY = Size(deployments=6, replicas=48, instances=12, ended=20)
_HISTORY = Size(deployments=3, replicas=12, instances=3, ended=1500)
_LOOKED_AT_FOR_NOTHING = 100
"""Rows: more than are live, far fewer than have ended."""


async def _settled(
    settings: Settings, database: Database, valkey: Redis, size: Size, name: str
) -> Fleet:
    """With agents that have beaten once."""
    fleet = await settle(database, size, settings.home, name=name)
    await add_machines(valkey, fleet.replicas_on)
    for instance_id, replica_ids in fleet.replicas_on.items():
        reports = [ReplicaReport(each, ReplicaState.READY) for each in replica_ids]
        heartbeat = Heartbeat(instance_id, WIRE_VERSION, "test", 1, 1, reports)
        await AgentRegistry(valkey, instance_id).beat(heartbeat, 60.0)
    return fleet


def _controller(settings: Settings, database: Database, valkey: Redis) -> Controller:
    return Controller(settings, database, valkey, FleetCloud(valkey), Mailbox())  # type: ignore[arg-type]


async def _quiet_pass(controller: Controller, database: Database) -> Asked:
    while await controller.reconcile():
        pass
    await controller.project()
    with asked(database) as found:
        assert await controller.reconcile() == 0
        await controller.project()
    return found


async def test_a_pass_asks_no_more_of_many_rows_than_of_few(
    migrated_settings: Settings, database: Database, valkey: Redis
) -> None:
    controller = _controller(migrated_settings, database, valkey)
    await _settled(migrated_settings, database, valkey, _FEW, "few")
    few = await _quiet_pass(controller, database)
    await _settled(migrated_settings, database, valkey, _MANY, "many")
    many = await _quiet_pass(controller, database)
    assert len(many.reads) == len(few.reads) < 40
    assert many.writes == few.writes == []


@on_postgresql_alone
async def test_whatever_a_pass_asks_is_found_by_an_index(
    migrated_settings: Settings, database: Database, valkey: Redis
) -> None:
    controller = _controller(migrated_settings, database, valkey)
    fleet = await _settled(migrated_settings, database, valkey, _HISTORY, "chat")
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("ANALYZE")
    with asked(database) as found:
        await _work(controller, database, valkey, fleet.deployments)
    assert len(await _by_index(database, found)) > 20


@on_postgresql_alone
async def test_whatever_the_books_ask_is_found_by_an_index(
    migrated_settings: Settings, database: Database, valkey: Redis
) -> None:
    settings = migrated_settings.model_copy(update={"cloud": "aws"})
    controller = _controller(settings, database, valkey)
    await settle(database, _HISTORY, settings.home, name="chat")
    await _let_the_fleet_cost(database)
    async with database.transaction() as session:
        await budgets.set_tenant(session, "acme", 1.0, 10.0)
    with asked(database) as found:
        for _ in range(2):
            await controller.meter()
    assert len(await _by_index(database, found)) > 10


async def _by_index(database: Database, found: Asked) -> dict[str, Any]:
    """The statements that read a table, of which each is found to look only at what it needs."""
    statements = {text: values for text, values in found.reads if "FROM" in text}
    for text, values in statements.items():
        for node in await plan_of(database, text, values):
            assert node["Node Type"] != "Seq Scan", f"no index for {text}"
            looked_at = node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
            assert looked_at < _LOOKED_AT_FOR_NOTHING, f"{looked_at} rows for nothing: {text}"
    return statements


async def _let_the_fleet_cost(database: Database) -> None:
    """One machine for a thousand hours, long ago; deployments have budgets."""
    async with database.transaction() as session:
        now = await read_clock(session)
        budget = {"budget": {"usd_per_day": 5.0, "usd_per_month": 50.0}}
        for each, _ in await deployments.all_live(session):
            each.spec = {**each.spec, **budget}
        old = (await session.scalars(select(Instance.id).limit(1))).one()
        hours = range(int(now // 3600 - 2000) * 3600, int(now // 3600 - 800) * 3600, 3600)
        shares = (Share("dep-gone", 3600.0, 1, 1),)
        await charges.write(session, [Charge(old, hour, 3600.0, 2, 0, shares) for hour in hours])
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("ANALYZE")


async def _work(
    controller: Controller, database: Database, valkey: Redis, deployments: Sequence[Settled]
) -> None:
    """A pass that changes nothing, and some that start a replica."""
    await _quiet_pass(controller, database)
    await Demand(valkey, deployments).rise()
    while await controller.reconcile():
        pass
    await Census(database).run(None)

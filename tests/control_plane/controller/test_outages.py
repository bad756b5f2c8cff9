"""A controller whose store or Redis is gone for a while goes on when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.store.session import Database
from control_plane.store.tables import Deployment
from infra.connection import connect
from infra.embedded import EmbeddedValkey
from infra.settings import Settings
from loadtests.benchmarks.postgres_cluster import PostgresCluster
from tests.control_plane.controller.cell import Cell
from tests.fixtures.database import on_postgresql_alone, on_sqlite_alone
from tests.fixtures.metric_samples import value
from tests.fixtures.waiting import eventually


@asynccontextmanager
async def _running(cell: Cell) -> AsyncIterator[None]:
    """The controller's own loop, in place of the test's steps."""
    stop = asyncio.Event()
    running = asyncio.create_task(cell.controller.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def _ready(cell: Cell, deployment: Deployment) -> None:
    """Celery's hands and the agents work until it is."""

    async def look() -> bool:
        while cell.mailbox.operation_ids:
            await cell.carry_out(cell.mailbox.operation_ids.pop(0))
        await cell.beat()
        return (await cell.deployment(deployment)).state == "ready"

    await eventually(look, deadline_s=30.0)


async def _failed_again(noun: str) -> None:
    """A pass has just failed at this noun, after one that began in good times."""
    before = value("reconcile_errors_total", noun=noun)

    async def twice_more() -> bool:
        return value("reconcile_errors_total", noun=noun) >= before + 2

    await eventually(twice_more, deadline_s=30.0)


@pytest.fixture
async def patient_cell(store_settings: Settings, database: Database, valkey: object) -> Cell:
    """Its controller passes twenty times a second, and loses nobody meanwhile."""
    assert valkey is not None
    settings = store_settings.model_copy(
        update={"reconcile_s": 0.05, "instance_lost_s": 60.0, "join_limit_s": 60.0}
    )
    return Cell(settings, database, connect(settings.jobs))


@on_postgresql_alone
async def test_a_controller_without_its_store_waits_and_then_goes_on(
    patient_cell: Cell, postgres: PostgresCluster
) -> None:
    cell = patient_cell
    model = await cell.model()
    first = await cell.deploy(model, "first", min_replicas=1)
    async with _running(cell):
        await _ready(cell, first)
        await asyncio.to_thread(postgres.halt)
        try:
            await _failed_again("deployment")
        finally:
            postgres.resume()
        await _ready(cell, await cell.deploy(model, "second", min_replicas=1))
    assert [each.state for each in await cell.replicas()] == ["ready", "ready"]
    assert cell.cloud.launches == 2
    await cell.jobs.aclose()


@on_sqlite_alone
async def test_a_controller_without_its_redis_waits_and_then_goes_on(
    store_settings: Settings, database: Database, tmp_path: Path
) -> None:
    server = EmbeddedValkey(tmp_path / "own.sock", data_dir=tmp_path / "valkey")
    server.start()
    settings = store_settings.model_copy(update={"jobs_url": server.url, "reconcile_s": 0.05})
    cell = Cell(settings, database, connect(settings.jobs))
    try:
        model = await cell.model()
        first = await cell.deploy(model, "first", min_replicas=1)
        async with _running(cell):
            await _ready(cell, first)
            server.kill()
            await _failed_again("projection")
            server.start()
            await _ready(cell, await cell.deploy(model, "second", min_replicas=1))
        assert [each.state for each in await cell.replicas()] == ["ready", "ready"]
        assert cell.cloud.launches == 2
    finally:
        await cell.jobs.aclose()
        server.stop()

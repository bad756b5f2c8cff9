"""Operations carried out by a real Celery worker over a real broker."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from control_plane.controller.operation import OperationReconciler
from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances, models, operations
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Model, Operation
from control_plane.tasks.messages import Messages
from control_plane.tasks.secret import control_plane_secret, join_token
from infra.cloud import open_cloud
from infra.cloud.base import CloudError, CloudInstance, CloudInstanceState
from infra.keys import hash_secret
from infra.registry import Registry
from infra.settings import Settings
from infra.states import InstanceState
from tests.control_plane.tasks.worker_process import WorkerProcess
from tests.fixtures.database import on_sqlite_alone
from tests.fixtures.waiting import eventually

StartWorker = Callable[[], WorkerProcess]


async def launching_instance(database: Database) -> tuple[Instance, Operation]:
    async with database.transaction() as session:
        instance = await instances.add(session, "local", "local", "local", "on-demand")
        seen = InstanceState.REQUESTED
        await instances.move(session, instance.id, seen, InstanceState.LAUNCHING, "")
        kind = OperationKind.LAUNCH_INSTANCE
        operation = await operations.add(session, kind, instance.id, f"launch:{instance.id}", 60.0)
    return instance, operation


async def importing_model(database: Database, source: str) -> tuple[Model, Operation]:
    async with database.transaction() as session:
        model = await models.add(session, "tiny", source, await read_clock(session))
        kind = OperationKind.IMPORT_MODEL
        operation = await operations.add(session, kind, model.id, f"import:{model.id}", 60.0)
    return model, operation


async def ended(database: Database, operation: Operation) -> Operation:
    async def look() -> Operation | None:
        async with database.snapshot() as session:
            row = await session.get_one(Operation, operation.id)
        return row if row.state in ("succeeded", "failed") else None

    found = await eventually(look, 30.0)
    assert found is not None
    return found


async def machines(settings: Settings) -> list[CloudInstance]:
    cloud = open_cloud(settings)

    async def look() -> Any:
        try:
            return [await cloud.describe()]
        except CloudError:
            return None

    try:
        [found] = await eventually(look, 20.0)
        return list(found)
    finally:
        await cloud.close()


@on_sqlite_alone
async def test_an_operation_whose_message_comes_twice_is_done_once(
    settings: Settings,
    database: Database,
    messages: Messages,
    valkey: Redis,
    start_worker: StartWorker,
    start_cloud: Callable[[], Any],
) -> None:
    start_cloud()
    assert await machines(settings) == []
    worker = start_worker()
    instance, operation = await launching_instance(database)
    for _ in range(3):
        await messages.send(operation.id)

    done = await ended(database, operation)
    assert (done.state, done.attempts) == ("succeeded", 1), worker.log
    [machine] = await machines(settings)
    assert (machine.instance_id, machine.state) == (instance.id, CloudInstanceState.RUNNING)
    async with database.snapshot() as session:
        row = await session.get_one(Instance, instance.id)
    token = join_token(control_plane_secret(settings), instance.id)
    assert (row.cloud_id, row.join_token_hash) == (machine.cloud_id, hash_secret(token))
    assert await Registry(valkey).wait_for_bell(5.0)

    async def log_tells_of_the_other_two() -> bool:
        return worker.log.count("operation is done or taken") == 2

    await eventually(log_tells_of_the_other_two)
    environment = _environment(int(machine.cloud_id.removeprefix("local-")))
    assert environment["TAMER_JOIN_TOKEN"] == token
    assert environment["TAMER_JOIN_URL"] == settings.api_url
    assert worker.stop() == 0


async def test_the_work_of_a_worker_killed_in_the_middle_is_sent_again_and_finished(
    settings: Settings,
    database: Database,
    operations_reconciler: OperationReconciler,
    start_worker: StartWorker,
    start_cloud: Callable[[], Any],
) -> None:
    reached = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reached.set()
        await reader.read()

    settings.cloud_socket.parent.mkdir(parents=True)
    stuck = await asyncio.start_unix_server(never_answer, settings.cloud_socket)
    _, operation = await launching_instance(database)
    victim = start_worker()
    await operations_reconciler.run(None)
    async with asyncio.timeout(30.0):
        await reached.wait()
    victim.kill()
    stuck.close()
    settings.cloud_socket.unlink()

    start_cloud()
    assert await machines(settings) == []
    start_worker()
    async with database.transaction() as session:  # instead of waiting for ten seconds
        await operations.send_in(session, [operation.id], 0.0)

    async def sent_again() -> int:
        return await operations_reconciler.run(None)

    await eventually(sent_again)
    done = await ended(database, operation)
    assert (done.state, done.attempts) == ("succeeded", 2)
    assert len(await machines(settings)) == 1


@on_sqlite_alone
async def test_a_cloud_that_is_away_is_tried_again_until_it_answers(
    settings: Settings,
    database: Database,
    operations_reconciler: OperationReconciler,
    start_worker: StartWorker,
    start_cloud: Callable[[], Any],
) -> None:
    _, operation = await launching_instance(database)
    start_worker()
    await operations_reconciler.run(None)

    async def tried() -> bool:
        async with database.snapshot() as session:
            row = await session.get_one(Operation, operation.id)
        return row.state == "pending" and "does not answer" in row.error

    await eventually(tried, 30.0)
    start_cloud()
    assert await machines(settings) == []

    async def reconciled_to_the_end() -> bool:
        await operations_reconciler.run(None)
        async with database.snapshot() as session:
            return (await session.get_one(Operation, operation.id)).state == "succeeded"

    await eventually(reconciled_to_the_end, 30.0)


@on_sqlite_alone
async def test_an_import_that_is_refused_says_why_in_the_operation_and_in_the_model(
    settings: Settings, database: Database, messages: Messages, start_worker: StartWorker
) -> None:
    model, operation = await importing_model(database, "/nowhere/at/all")
    start_worker()
    await messages.send(operation.id)
    done = await ended(database, operation)
    async with database.snapshot() as session:
        row = await session.get_one(Model, model.id)
    assert (done.state, row.state) == ("failed", "deleted")
    assert "nothing lies at /nowhere/at/all" in done.error
    assert row.error == done.error


@on_sqlite_alone
async def test_a_worker_is_up_in_time_and_ends_cleanly_on_sigterm(
    settings: Settings, database: Database, messages: Messages, start_worker: StartWorker
) -> None:
    worker = start_worker()
    _, operation = await importing_model(database, "/nowhere/at/all")
    await messages.send(operation.id)
    await ended(database, operation)
    before = time.monotonic()
    assert worker.stop() == 0, worker.log
    assert time.monotonic() - before < 10.0


def _environment(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        entries = file.read().split(b"\0")
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if entry)

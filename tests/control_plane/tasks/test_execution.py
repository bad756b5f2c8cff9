"""Claims, outcomes and progress of one operation, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances, models, operations
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Model, Operation
from control_plane.tasks import claim as claim_room
from control_plane.tasks.claim import Claim, ClaimLost
from control_plane.tasks.execution import execute
from infra.cloud.base import CloudError, CloudInstance, LaunchRequest
from infra.cloud.refusals import CredentialsExpired, Denied, Refusal
from infra.settings import Settings
from infra.storage.directory import local_path
from tests.control_plane.importer.tiny_model import write_directory
from tests.fixtures.waiting import eventually


async def add_import(database: Database, source: str, limit_s: float = 60.0) -> tuple[str, str]:
    async with database.transaction() as session:
        model = await models.add(session, "tiny", source, await read_clock(session))
        kind = OperationKind.IMPORT_MODEL
        operation = await operations.add(session, kind, model.id, f"import:{model.id}", limit_s)
    return model.id, operation.id


async def operation_of(database: Database, operation_id: str) -> Operation:
    async with database.snapshot() as session:
        return await session.get_one(Operation, operation_id)


async def model_of(database: Database, model_id: str) -> Model:
    async with database.snapshot() as session:
        return await session.get_one(Model, model_id)


async def test_an_import_fills_in_the_row_of_its_model_and_tells_its_progress(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    model_id, operation_id = await add_import(database, str(write_directory(tmp_path / "source")))
    await execute(operation_id, settings, threading.Event())
    operation, model = (
        await operation_of(database, operation_id),
        await model_of(database, model_id),
    )
    assert (operation.state, operation.error, model.state) == ("succeeded", "", "ready")
    assert operation.progress["done_bytes"] == operation.progress["total_bytes"] > 0
    assert (model.architecture, model.vocabulary_size) == ("LlamaForCausalLM", 260)
    assert (local_path(model.uri) / "text.json").is_file()


async def test_an_import_that_is_stopped_gives_its_operation_back(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    model_id, operation_id = await add_import(database, str(write_directory(tmp_path / "source")))
    stopping = threading.Event()
    stopping.set()
    await execute(operation_id, settings, stopping)
    operation = await operation_of(database, operation_id)
    assert (operation.state, operation.lock_token) == ("pending", None)
    assert (await model_of(database, model_id)).state == "importing"

    await execute(operation_id, settings, threading.Event())
    assert (await model_of(database, model_id)).state == "ready"


async def test_an_import_past_its_deadline_is_not_begun(
    settings: Settings, database: Database
) -> None:
    _, operation_id = await add_import(database, "/nowhere", limit_s=-1.0)
    await execute(operation_id, settings, threading.Event())
    assert (await operation_of(database, operation_id)).attempts == 0


async def test_a_claim_that_was_taken_over_cannot_end_the_operation(
    settings: Settings, database: Database
) -> None:
    _, operation_id = await add_import(database, "/nowhere")
    async with database.transaction() as session:
        claimed = await operations.claim(session, operation_id, lease_s=-1.0)
    async with database.transaction() as session:
        assert await operations.claim(session, operation_id, lease_s=60.0) is not None
        assert await operations.claim(session, operation_id, lease_s=60.0) is None
    assert claimed is not None
    claim = Claim(database, *claimed, lease_s=60.0, stopping=threading.Event())
    with pytest.raises(ClaimLost):
        async with claim.outcome(OperationState.SUCCEEDED):
            raise AssertionError("the work of a lost claim must not be written")
    assert (await operation_of(database, operation_id)).state == "running"


async def test_an_operation_past_its_deadline_fails_whoever_works_on_it(
    database: Database,
) -> None:
    _, operation_id = await add_import(database, "/nowhere", limit_s=0.0)
    async with database.transaction() as session:
        await operations.expire(session, operation_id, "too late")
    operation = await operation_of(database, operation_id)
    assert (operation.state, operation.error) == ("failed", "too late")


class StubbornCloud:
    """Does not answer the first attempt and refuses the second."""

    def __init__(self) -> None:
        self.requests: list[LaunchRequest] = []

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        self.requests.append(request)
        raise CloudError("no reply", retryable=len(self.requests) < 2)

    async def close(self) -> None:
        return None


async def test_a_launch_is_repeated_with_the_same_token_and_then_given_up(
    settings: Settings, database: Database
) -> None:
    async with database.transaction() as session:
        instance = await instances.add(session, "local", "local", "local", "on-demand")
        row = await session.get_one(Instance, instance.id)
        row.state = "launching"
        kind = OperationKind.LAUNCH_INSTANCE
        operation = await operations.add(session, kind, instance.id, f"launch:{instance.id}", 60.0)
    cloud = StubbornCloud()
    states = []
    for _ in range(2):
        await execute(operation.id, settings, threading.Event(), lambda _: cloud)  # type: ignore[arg-type,return-value]
        states.append((await operation_of(database, operation.id)).state)
    assert states == ["pending", "failed"]
    assert cloud.requests[0] == cloud.requests[1]


class Refusing:
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal

    async def launch(self, _: LaunchRequest) -> CloudInstance:
        raise self.refusal

    async def terminate(self, _: str) -> None:
        raise self.refusal

    async def close(self) -> None:
        return None


async def _launch(database: Database, limit_s: float) -> str:
    async with database.transaction() as session:
        instance = await instances.add(session, "local", "local", "local", "on-demand")
        row = await session.get_one(Instance, instance.id)
        row.state = "launching"
        kind = OperationKind.LAUNCH_INSTANCE
        key = f"launch:{instance.id}"
        return (await operations.add(session, kind, instance.id, key, limit_s)).id


async def test_a_launch_is_not_late_because_the_cloud_does_not_know_us(
    settings: Settings, database: Database
) -> None:
    operation_id = await _launch(database, limit_s=60.0)
    before = await operation_of(database, operation_id)
    cloud = Refusing(CredentialsExpired("renew them"))
    await execute(operation_id, settings, threading.Event(), lambda _: cloud)  # type: ignore[arg-type,return-value]
    waits = await operation_of(database, operation_id)
    assert (waits.state, waits.error) == ("pending", "renew them")
    assert waits.deadline_at >= before.created_at + settings.operation_limit_s


async def _terminate(database: Database, limit_s: float = 60.0) -> str:
    async with database.transaction() as session:
        instance = await instances.add(session, "aws", "g6.xlarge", "us-east-1a", "spot")
        return (await operations.add_termination(session, instance.id, limit_s)).id


async def test_a_termination_that_is_not_allowed_is_tried_again_after_growing_pauses(
    settings: Settings, database: Database
) -> None:
    """Had it failed, the controller would ask for another one at once, and so on for ever."""
    operation_id = await _terminate(database)
    cloud = Refusing(Denied("termination protection"))
    pauses_s = []
    for _ in range(8):
        await execute(operation_id, settings, threading.Event(), lambda _: cloud)  # type: ignore[arg-type,return-value]
        row = await operation_of(database, operation_id)
        assert (row.state, row.error) == ("pending", "termination protection")
        pauses_s.append(round(row.send_after - row.updated_at))
    assert pauses_s == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_a_cloud_that_is_away_for_days_is_still_asked_every_half_minute(
    settings: Settings, database: Database
) -> None:
    operation_id = await _launch(database, limit_s=60.0)
    async with database.transaction() as session:
        (await session.get_one(Operation, operation_id)).attempts = 10_000
    cloud = Refusing(CredentialsExpired("renew them"))
    await execute(operation_id, settings, threading.Event(), lambda _: cloud)  # type: ignore[arg-type,return-value]
    row = await operation_of(database, operation_id)
    assert (row.state, row.attempts, row.lock_token) == ("pending", 10_001, None)
    assert round(row.send_after - row.updated_at) == 30


class Unreachable(Database):
    """PostgreSQL while it is restarted: nobody listens, and no driver has an error of its own."""

    refusals = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionRefusedError("nobody listens")
        async with super().transaction() as session:
            yield session


async def test_a_claim_is_held_on_to_while_the_store_is_away(
    migrated_settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_room, "_REPORT_S", 0.01)
    _, operation_id = await add_import(database, "/nowhere")
    async with database.transaction() as session:
        claimed = await operations.claim(session, operation_id, lease_s=60.0)
    assert claimed is not None
    away = Unreachable(migrated_settings)
    away.refusals = 2
    claim = Claim(away, *claimed, lease_s=0.3, stopping=threading.Event())
    ended = asyncio.Event()
    keeping = asyncio.create_task(claim.keep(ended))
    await asyncio.sleep(0)  # it begins
    claim.tell(phase="fetch")

    async def written() -> bool:
        return (await operation_of(database, operation_id)).progress == {"phase": "fetch"}

    try:
        await eventually(written, 10.0)
    finally:
        ended.set()
        await keeping
        await away.close()

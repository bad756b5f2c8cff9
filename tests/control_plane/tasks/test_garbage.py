"""What is collected of the store of models, and what is not, also while models are imported."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories import (
    deployments,
    imports,
    models,
    operations,
    replicas,
    revisions,
)
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Model, Operation
from control_plane.tasks.execution import execute
from infra.settings import Settings
from infra.states import ReplicaState
from infra.storage.directory import DirectoryStorage, path_of
from infra.storage.opening import local_path, open_storage
from infra.storage.tree import verify_tree
from tests.control_plane.importer.tiny_model import write_directory
from tests.fixtures.s3_server import Bucket
from tests.fixtures.waiting import eventually

LIMIT_S = 60.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_directory(tmp_path / "source")


async def run(database: Database, settings: Settings, kind: OperationKind) -> Operation:
    async with database.transaction() as session:
        operation = await operations.add_another(session, kind, "models", LIMIT_S)
    await execute(operation.id, settings, threading.Event())
    async with database.snapshot() as session:
        ended = await session.get_one(Operation, operation.id)
    assert (ended.state, ended.error) == ("succeeded", "")
    return ended


async def collect(database: Database, settings: Settings) -> list[str]:
    """The digests that were removed."""
    ended = await run(database, settings, OperationKind.COLLECT_GARBAGE)
    return [each["digest"] for each in ended.progress["found"]]


async def begin_import(database: Database, source: Path, name: str = "tiny") -> tuple[str, str]:
    async with database.transaction() as session:
        model = await models.add(session, name, str(source), await read_clock(session))
        kind = OperationKind.IMPORT_MODEL
        operation = await operations.add(session, kind, model.id, f"import:{model.id}", LIMIT_S)
    return model.id, operation.id


async def model_of(database: Database, model_id: str) -> Model:
    async with database.snapshot() as session:
        return await session.get_one(Model, model_id)


async def import_tiny(database: Database, settings: Settings, source: Path) -> Model:
    model_id, operation_id = await begin_import(database, source)
    await execute(operation_id, settings, threading.Event())
    model = await model_of(database, model_id)
    assert (model.state, model.error) == ("ready", "")
    return model


async def drop(database: Database, model_id: str) -> None:
    async with database.transaction() as session:
        (await session.get_one(Model, model_id)).state = models.DELETED


async def test_only_what_nothing_uses_is_removed(
    settings: Settings, database: Database, source: Path
) -> None:
    model = await import_tiny(database, settings, source)
    store = path_of(settings.storage)
    shutil.copytree(store / model.digest, store / ("f" * 64))
    (store / "pictures").mkdir()
    assert await collect(database, settings) == ["f" * 64]
    assert sorted(path.name for path in store.iterdir()) == sorted([model.digest, "pictures"])
    await drop(database, model.id)
    assert await collect(database, settings) == [model.digest]
    assert [path.name for path in store.iterdir()] == ["pictures"]


async def test_a_dry_run_lists_and_removes_nothing(
    settings: Settings, database: Database, source: Path
) -> None:
    model = await import_tiny(database, settings, source)
    await drop(database, model.id)
    ended = await run(database, settings, OperationKind.LIST_GARBAGE)
    [found] = ended.progress["found"]
    assert found["digest"] == model.digest
    assert found["size_bytes"] == ended.progress["found_bytes"] > model.size_bytes
    verify_tree(local_path(model.uri, settings))


async def test_what_a_live_deployment_or_replica_uses_is_kept(
    settings: Settings, database: Database, source: Path
) -> None:
    model = await import_tiny(database, settings, source)
    await drop(database, model.id)
    async with database.transaction() as session:
        now, deployment_id = await read_clock(session), new_id(Prefix.DEPLOYMENT)
        revision = await revisions.find_or_add(session, deployment_id, model, "paced", {}, now)
        await deployments.add(session, deployment_id, "chat", {}, revision, now)
    assert await collect(database, settings) == []
    async with database.transaction() as session:
        deployment = await session.get_one(Deployment, deployment_id)
        replica = await replicas.add(session, deployment)
        deployment.state = "deleted"
    assert await collect(database, settings) == []
    async with database.transaction() as session:
        await replicas.move(
            session, replica.id, ReplicaState.REQUESTED, ReplicaState.TERMINATED, ""
        )
    assert await collect(database, settings) == [model.digest]


async def test_what_is_being_imported_is_kept(
    settings: Settings, database: Database, source: Path
) -> None:
    model = await import_tiny(database, settings, source)
    await drop(database, model.id)
    again, _ = await begin_import(database, source)
    async with database.transaction() as session:
        await imports.reserve(session, again, model.digest)
    assert await collect(database, settings) == []


async def test_an_import_of_what_is_being_removed_waits_and_stores_it_again(
    settings: Settings, database: Database, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await import_tiny(database, settings, source)
    await drop(database, model.id)
    removing, go_on = threading.Event(), threading.Event()
    delete = DirectoryStorage.delete

    def slow_delete(self: DirectoryStorage, key: str) -> None:
        removing.set()
        assert go_on.wait(LIMIT_S)
        delete(self, key)

    monkeypatch.setattr(DirectoryStorage, "delete", slow_delete)
    collecting = asyncio.create_task(collect(database, settings))
    assert await asyncio.to_thread(removing.wait, LIMIT_S)
    model_id, operation_id = await begin_import(database, source)
    importing = asyncio.create_task(execute(operation_id, settings, threading.Event()))

    async def waits() -> bool:
        async with database.snapshot() as session:
            operation = await session.get_one(Operation, operation_id)
        return operation.progress.get("phase") == "wait"

    await eventually(waits)
    go_on.set()
    assert await collecting == [model.digest]
    await importing
    stored = await model_of(database, model_id)
    assert stored.state == "ready"
    verify_tree(local_path(stored.uri, settings))


async def test_a_model_that_is_imported_and_dropped_over_and_over_is_never_ready_without_files(
    settings: Settings, database: Database, source: Path
) -> None:
    for _ in range(4):
        model, _ = await asyncio.gather(
            import_tiny(database, settings, source), collect(database, settings)
        )
        verify_tree(local_path(model.uri, settings))
        await drop(database, model.id)


async def test_a_store_in_s3_is_imported_into_and_collected(
    settings: Settings, database: Database, source: Path, bucket: Bucket
) -> None:
    in_s3 = settings.model_copy(
        update={"storage_url": f"{bucket.url}/models", "s3_endpoint": bucket.endpoint}
    )
    model = await import_tiny(database, in_s3, source)
    assert model.uri == f"{bucket.url}/models/{model.digest}"
    assert verify_tree(local_path(model.uri, in_s3)).digest == model.digest
    bucket.client.put_object(Bucket=bucket.name, Key=f"models/{'e' * 64}/part", Body=b"12")
    assert await collect(database, in_s3) == ["e" * 64]
    await drop(database, model.id)
    assert await collect(database, in_s3) == [model.digest]
    assert open_storage(in_s3).keys() == []


async def test_a_store_that_is_away_is_asked_again_later(
    settings: Settings, database: Database, bucket: Bucket
) -> None:
    away = settings.model_copy(
        update={"storage_url": "s3://bucket/models", "s3_endpoint": "http://127.0.0.1:9"}
    )
    async with database.transaction() as session:
        kind = OperationKind.LIST_GARBAGE
        operation = await operations.add_another(session, kind, "models", LIMIT_S)
    await execute(operation.id, away, threading.Event())
    async with database.snapshot() as session:
        after = await session.get_one(Operation, operation.id)
    assert after.state == "pending"
    assert "TAMER_S3_ENDPOINT" in after.error

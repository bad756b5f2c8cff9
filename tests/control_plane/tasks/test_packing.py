"""Packing a registered model, carried out in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from control_plane.store.clock import read_clock
from control_plane.store.repositories import models, operations
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Model, Operation
from control_plane.tasks.execution import execute
from infra.package_index import parse_index
from infra.settings import Settings
from infra.storage.directory import local_path
from tests.control_plane.importer.tiny_model import write_directory


async def _carry_out(
    settings: Settings, database: Database, kind: OperationKind, model_id: str
) -> Operation:
    async with database.transaction() as session:
        operation = await operations.add(session, kind, model_id, f"{kind}:{model_id}", 60.0)
    await execute(operation.id, settings, threading.Event())
    async with database.snapshot() as session:
        return await session.get_one(Operation, operation.id)


async def _model(database: Database, model_id: str) -> Model:
    async with database.snapshot() as session:
        return await session.get_one(Model, model_id)


@pytest.fixture
async def imported(settings: Settings, database: Database, tmp_path: Path) -> Model:
    source = str(write_directory(tmp_path / "source"))
    async with database.transaction() as session:
        model = await models.add(session, "tiny", source, await read_clock(session))
    await _carry_out(settings, database, OperationKind.IMPORT_MODEL, model.id)
    return await _model(database, model.id)


async def _pack(
    settings: Settings, database: Database, of: Model, name: str, **packing: Any
) -> tuple[Operation, Model]:
    replaces = name == "tiny.packing"
    async with database.transaction() as session:
        now = await read_clock(session)
        made = await models.add(session, name, of.source, now, packing, of.id, replaces)
    operation = await _carry_out(settings, database, OperationKind.PACK_MODEL, made.id)
    return operation, await _model(database, made.id)


async def test_an_import_says_that_the_model_is_a_package(imported: Model) -> None:
    index = parse_index((local_path(imported.uri) / "package.json").read_bytes(), "it")
    assert (imported.weights_root, imported.quantization) == (index.root, "none")


async def test_a_pack_under_a_new_name_leaves_the_model_alone(
    settings: Settings, database: Database, imported: Model
) -> None:
    operation, made = await _pack(settings, database, imported, "small", quantization="int8")
    assert (operation.state, operation.error) == ("succeeded", "")
    assert operation.progress["done_bytes"] == operation.progress["total_bytes"] > 0
    assert (made.name, made.state, made.quantization) == ("small", "ready", "int8")
    assert made.digest != imported.digest and made.size_bytes < imported.size_bytes
    assert (made.source, made.text_digest) == (imported.source, imported.text_digest)
    assert (await _model(database, imported.id)).state == "ready"


async def test_a_pack_in_place_takes_the_name_when_it_is_ready(
    settings: Settings, database: Database, imported: Model
) -> None:
    _, made = await _pack(settings, database, imported, "tiny.packing", dtype="bfloat16")
    assert (made.name, made.state) == ("tiny", "ready")
    assert (await _model(database, imported.id)).state == "deleted"
    async with database.snapshot() as session:
        found = await models.find(session, "tiny")
        assert found is not None and found.id == made.id
        assert await models.find(session, "tiny.packing") is None


async def test_garbage_collects_what_was_replaced_and_not_what_replaced_it(
    settings: Settings, database: Database, imported: Model
) -> None:
    _, made = await _pack(settings, database, imported, "tiny.packing", dtype="bfloat16")
    async with database.transaction() as session:
        kind = OperationKind.COLLECT_GARBAGE
        collection = await operations.add_another(session, kind, "models", 60.0)
    await execute(collection.id, settings, threading.Event())
    assert not (settings.home / "models" / imported.digest).exists()
    assert local_path(made.uri).is_dir()


async def test_a_pack_that_cannot_be_leaves_the_model_and_tells_why(
    settings: Settings, database: Database, imported: Model
) -> None:
    operation, made = await _pack(settings, database, imported, "tiny.packing", slices=7)
    assert operation.state == "failed"
    assert "not 7 slices" in operation.error
    assert (made.state, made.error) == ("deleted", operation.error)
    assert (await _model(database, imported.id)).state == "ready"


async def test_a_pack_that_was_stopped_is_gone_on_with(
    settings: Settings, database: Database, imported: Model
) -> None:
    async with database.transaction() as session:
        now = await read_clock(session)
        made = await models.add(session, "small", "x", now, {"slices": 2}, imported.id)
        kind = OperationKind.PACK_MODEL
        operation = await operations.add(session, kind, made.id, f"pack:{made.id}", 60.0)
    stopping = threading.Event()
    stopping.set()
    await execute(operation.id, settings, stopping)
    assert (await _model(database, made.id)).state == "importing"
    for _ in range(2):
        await execute(operation.id, settings, threading.Event())
        assert (await _model(database, made.id)).state == "ready"


async def test_a_pack_that_is_too_late_fails_with_its_model(
    database: Database, imported: Model
) -> None:
    from control_plane.controller.operation import OperationReconciler

    async with database.transaction() as session:
        now = await read_clock(session)
        made = await models.add(session, "small", "x", now, {}, imported.id)
        kind = OperationKind.PACK_MODEL
        await operations.add(session, kind, made.id, f"pack:{made.id}", -1.0)

    class NoMessages:
        async def send(self, operation_id: str) -> None:
            raise AssertionError(operation_id)

    await OperationReconciler(database, NoMessages()).run(None)
    assert (await _model(database, made.id)).state == "deleted"

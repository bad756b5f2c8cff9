from __future__ import annotations

import threading
from pathlib import Path

from control_plane.store.session import Database
from control_plane.tasks.execution import execute
from infra.settings import Settings
from tests.control_plane.importer.tiny_model import write_directory
from tests.control_plane.tasks.test_execution import add_import
from tests.fixtures.metric_samples import value


def _attempts(outcome: str) -> float:
    name = "operation_duration_seconds_count"
    return value(name, kind="import_model", outcome=outcome)


async def test_an_attempt_is_measured_once_under_how_it_ended(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    before = {each: _attempts(each) for each in ("succeeded", "given_back")}
    _, operation_id = await add_import(database, str(write_directory(tmp_path / "source")))
    stopping = threading.Event()
    stopping.set()
    await execute(operation_id, settings, stopping)
    assert _attempts("given_back") == before["given_back"] + 1
    await execute(operation_id, settings, threading.Event())
    assert _attempts("succeeded") == before["succeeded"] + 1
    await execute(operation_id, settings, threading.Event())
    assert _attempts("succeeded") == before["succeeded"] + 1


async def test_an_import_that_is_refused_is_measured_as_failed(
    settings: Settings, database: Database
) -> None:
    before = _attempts("failed")
    _, operation_id = await add_import(database, "/nowhere")
    await execute(operation_id, settings, threading.Event())
    assert _attempts("failed") == before + 1

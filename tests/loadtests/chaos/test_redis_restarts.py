"""Redis dies under load and comes back with its data, empty, with older data, or late."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded import EmbeddedValkey
from infra.wire import Target
from tests.fixtures.waiting import wait_until
from tests.loadtests.chaos.cell import CONSUMER_LEASE_S, REVISION, STREAMS, running_cell


@pytest.fixture
def keeping_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """It writes an append-only file into `data`."""
    server = EmbeddedValkey(tmp_path / "own.sock", tmp_path / "data", tmp_path / "own.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def forgetful_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "own.sock", None, tmp_path / "own.log")
    server.start()
    yield server
    server.stop()


async def test_with_its_data_every_request_completes(
    keeping_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    async with running_cell(tmp_path, keeping_valkey.url) as (cell, http):
        cell.ask(http)
        await cell.under_way()
        keeping_valkey.kill()
        cell.ask(http, 4)
        keeping_valkey.start()
        await cell.answered()
        assert cell.reasons() == set()
        await cell.still_works(http)


async def test_away_for_longer_than_all_leases_every_request_completes(
    keeping_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    async with running_cell(tmp_path, keeping_valkey.url) as (cell, http):
        cell.ask(http)
        await cell.under_way()
        keeping_valkey.kill()
        back_at = time.monotonic() + 1.5 * CONSUMER_LEASE_S

        def overdue() -> bool:
            dropped = cell.agent.log.read_text().count('"job dropped"')
            return dropped >= STREAMS and time.monotonic() > back_at

        await wait_until(overdue, "the leases of all jobs and of the gateway have run out")
        keeping_valkey.start()
        await cell.answered()
        assert cell.reasons() == set()
        await cell.still_works(http)


async def test_empty_every_request_ends_with_a_reason(
    forgetful_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    async with running_cell(tmp_path, forgetful_valkey.url) as (cell, http):
        cell.ask(http)
        await cell.under_way()
        forgetful_valkey.kill()
        forgetful_valkey.start()
        await cell.answered()
        assert cell.reasons() == {"queue_lost"}
        await cell.gateway.publish(targets=[Target(REVISION)])  # as a controller's next pass does
        await cell.still_works(http)


@pytest.mark.parametrize("moment", ["before", "during"])
async def test_with_older_data_every_request_ends_right_or_with_a_reason(
    keeping_valkey: EmbeddedValkey, tmp_path: Path, moment: str
) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    async with running_cell(tmp_path, keeping_valkey.url) as (cell, http):
        if moment == "before":
            shutil.copytree(data, older)
        cell.ask(http)
        await cell.under_way()
        if moment == "during":
            shutil.copytree(data, older)
            cell.ask(http)
            await cell.under_way()
        keeping_valkey.kill()
        shutil.rmtree(data)
        older.rename(data)
        keeping_valkey.start()
        await cell.answered()
        assert cell.reasons() <= {"queue_lost", "job_lost"}
        await cell.still_works(http)

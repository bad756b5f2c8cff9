"""SQLite, which several processes of one machine share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from control_plane.store.repositories import keys
from control_plane.store.session import Database
from infra.settings import Settings
from tests.fixtures.database import on_sqlite_alone
from tests.fixtures.waiting import eventually

pytestmark = on_sqlite_alone


@pytest.fixture
async def other(migrated_settings: Settings) -> AsyncIterator[Database]:
    """Connections of their own to the same file."""
    opened = Database(migrated_settings)
    yield opened
    await opened.close()


async def test_the_file_is_in_write_ahead_mode(database: Database) -> None:
    async with database.snapshot() as session:
        assert await session.scalar(text("PRAGMA journal_mode")) == "wal"


async def test_a_transaction_that_has_only_read_so_far_keeps_other_writers_waiting(
    database: Database, other: Database
) -> None:
    """Else it would find the database locked as soon as it wrote what it concluded."""
    steps: list[str] = []

    async def write_too() -> None:
        async with other.transaction() as session:
            await keys.valid(session)
            steps.append("the other begins")
            await keys.add(session, "second", "hash-2", "default", ["admin"], 1.0)

    async with database.transaction() as session:
        seen = len(await keys.valid(session))
        waiting = asyncio.create_task(write_too())
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        await keys.add(session, f"after {seen}", "hash-1", "default", ["admin"], 1.0)
        steps.append("the first ends")
    await waiting
    assert steps == ["the first ends", "the other begins"]
    async with database.snapshot() as session:
        assert {key.name for key in await keys.valid(session)} == {"after 0", "second"}


async def test_many_writers_at_once_all_get_their_turn(database: Database, other: Database) -> None:
    async def count_up(through: Database) -> None:
        async with through.transaction() as session:
            seen = len(await keys.valid(session))
            await asyncio.sleep(0)
            await keys.add(session, f"key {seen}", f"hash {seen}", "default", ["admin"], 1.0)

    await asyncio.gather(*(count_up(each) for each in [database, other] * 8))
    async with database.snapshot() as session:
        assert {key.name for key in await keys.valid(session)} == {f"key {n}" for n in range(16)}


async def test_readers_are_never_told_that_the_database_is_locked(
    database: Database, other: Database
) -> None:
    writing = asyncio.create_task(_write_often(database))

    async def read() -> bool:
        async with other.snapshot() as session:
            return len(await keys.valid(session)) == 30

    await eventually(read)
    await writing


async def _write_often(database: Database) -> None:
    for number in range(30):
        async with database.transaction() as session:
            await keys.add(session, f"k{number}", f"h{number}", "default", ["admin"], 1.0)

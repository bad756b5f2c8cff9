from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from control_plane.store.clock import read_clock
from control_plane.store.repositories import audit, keys, listings
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database, StoreError
from control_plane.store.tables import Replica
from infra.settings import Settings


async def _add_key(database: Database, name: str) -> None:
    async with database.transaction() as session:
        await keys.add(session, name, f"hash-{name}", "default", ["admin"], 1.0)


async def test_a_transaction_that_raises_writes_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.transaction() as session:
            await keys.add(session, "lost", "hash", "default", ["admin"], 1.0)
            raise RuntimeError
    async with database.snapshot() as session:
        assert await keys.by_hash(session, "hash") is None


async def test_a_snapshot_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.snapshot() as session:
            await session.execute(text("DELETE FROM api_keys"))


async def test_a_snapshot_does_not_make_later_transactions_read_only(database: Database) -> None:
    async with database.snapshot() as session:
        await keys.valid(session)
    await _add_key(database, "later")


async def test_writers_at_once_wait_for_each_other_on_sqlite(database: Database) -> None:
    async def count_up() -> None:
        async with database.transaction() as session:
            seen = len(await keys.valid(session))
            await asyncio.sleep(0)
            await keys.add(session, f"key {seen}", f"hash {seen}", "default", ["admin"], 1.0)

    await asyncio.gather(*(count_up() for _ in range(8)))
    async with database.snapshot() as session:
        assert {key.name for key in await keys.valid(session)} == {f"key {n}" for n in range(8)}


async def test_readers_go_on_while_somebody_writes(database: Database) -> None:
    async with database.transaction() as session:
        await keys.add(session, "unseen", "hash", "default", ["admin"], 1.0)
        async with database.snapshot() as reading:
            assert await keys.by_hash(reading, "hash") is None


async def test_foreign_keys_are_enforced(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            session.add(
                Replica(
                    id="rep-1",
                    deployment_id="dep-none",
                    revision_id="rev-none",
                    state="requested",
                    created_at=1.0,
                    updated_at=1.0,
                )
            )


async def test_the_database_clock_is_epoch_seconds_with_fractions(database: Database) -> None:
    async with database.snapshot() as session:
        readings = [await read_clock(session) for _ in range(5)]
    assert abs(readings[0] - time.time()) < 5
    assert any(reading != int(reading) for reading in readings)


async def test_a_database_of_another_kind_is_refused_with_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"postgresql://"):
        Database(Settings(home=tmp_path, database_url="mysql://somewhere/else"))


async def test_sqlite_in_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="needs a file"):
        Database(Settings(home=tmp_path, database_url="sqlite://"))


async def test_pages_hold_every_row_once_newest_first(database: Database) -> None:
    async with database.transaction() as session:
        for number in range(7):
            await audit.record(session, "key-1", "test", f"subject-{number}", {})
    seen: list[str] = []
    cursor: str | None = None
    async with database.snapshot() as session:
        while True:
            listing = await listings.audit_events(session, Page(3, cursor))
            seen += [row.id for row in listing.rows]
            cursor = listing.next_cursor
            if cursor is None:
                break
    assert len(seen) == 7
    assert seen == sorted(set(seen), reverse=True)

"""Sessions, as they are on both databases."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, StatementError

from control_plane.store.clock import read_clock
from control_plane.store.repositories import audit, keys, listings
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database, StoreError
from control_plane.store.tables import AuditEvent
from infra.settings import Settings
from tests.control_plane.store.rows import add_instance


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


async def test_a_snapshot_sees_one_state_and_a_transaction_what_others_committed(
    database: Database,
) -> None:
    async with database.snapshot() as session:
        before = len(await keys.valid(session))
        await _add_key(database, "new")
        assert len(await keys.valid(session)) == before
    async with database.transaction() as session:
        assert len(await keys.valid(session)) == before + 1


async def test_readers_go_on_while_somebody_writes(database: Database) -> None:
    async with database.transaction() as session:
        await keys.add(session, "unseen", "hash", "default", ["admin"], 1.0)
        async with database.snapshot() as reading:
            assert await keys.by_hash(reading, "hash") is None


async def test_the_database_clock_is_epoch_seconds_with_fractions(database: Database) -> None:
    async with database.snapshot() as session:
        readings = [await read_clock(session) for _ in range(5)]
    assert abs(readings[0] - time.time()) < 5
    assert any(reading != int(reading) for reading in readings)


async def test_the_clock_goes_on_within_a_transaction(database: Database) -> None:
    async with database.transaction() as session:
        first = await read_clock(session)
        while await read_clock(session) == first:
            pass


async def test_free_text_that_no_database_holds_is_written_with_replacements(
    database: Database,
) -> None:
    async with database.transaction() as session:
        instance = await add_instance(session)
        instance.reason = "died: \0\ud800 é"
    async with database.snapshot() as session:
        row = await session.get_one(type(instance), instance.id)
    assert row.reason == "died: \ufffd? é"


async def test_json_holds_what_text_cannot_and_refuses_what_json_cannot(
    database: Database,
) -> None:
    odd = {"nul": "\0", "surrogate": "\ud800", "é": [1, 2.5, None, True]}
    async with database.transaction() as session:
        await audit.record(session, "key-1", "test", "subject", odd)
    async with database.snapshot() as session:
        [row] = (await listings.audit_events(session, Page())).rows
    assert row.detail == odd
    with pytest.raises(StatementError, match="not JSON compliant"):
        async with database.transaction() as session:
            session.add(_event({"cost": math.nan}))


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


def _event(detail: dict[str, object]) -> AuditEvent:
    return AuditEvent(
        id="aud-1", key_id="key-1", action="test", subject_id="s", detail=detail, created_at=1.0
    )

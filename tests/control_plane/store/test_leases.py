from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from control_plane.store.clock import read_clock
from control_plane.store.leases import break_lease, guarded_update, lock_free, release, take
from control_plane.store.session import Database
from control_plane.store.tables import Instance

_ID = "ins-1"


@pytest.fixture
async def leased(database: Database) -> AsyncIterator[Database]:
    """A store with one instance."""
    async with database.transaction() as session:
        session.add(
            Instance(
                id=_ID,
                cloud="local",
                instance_type="process",
                zone="here",
                market="on-demand",
                state="requested",
                created_at=1.0,
                updated_at=1.0,
            )
        )
    yield database


async def _take(database: Database, ttl_s: float = 60.0) -> str | None:
    async with database.transaction() as session:
        return await take(session, Instance, _ID, ttl_s)


async def test_of_many_takers_one_gets_the_row(leased: Database) -> None:
    tokens = await asyncio.gather(*(_take(leased) for _ in range(5)))
    assert len([token for token in tokens if token is not None]) == 1


async def test_a_released_row_can_be_taken_again(leased: Database) -> None:
    token = await _take(leased)
    assert token is not None
    async with leased.transaction() as session:
        assert await release(session, Instance, _ID, token)
    assert await _take(leased) is not None


async def test_an_expired_lease_is_taken_over_and_its_holder_writes_nothing(
    leased: Database,
) -> None:
    old = await _take(leased, ttl_s=-1.0)
    new = await _take(leased)
    assert old is not None and new is not None
    async with leased.transaction() as session:
        assert not await guarded_update(session, Instance, _ID, old, reason="too late")
        assert not await release(session, Instance, _ID, old)
        assert await guarded_update(session, Instance, _ID, new, reason="in time")
    async with leased.snapshot() as session:
        assert (await session.get_one(Instance, _ID)).reason == "in time"


@pytest.mark.parametrize("hours", [-24, 24])
async def test_a_lease_runs_on_the_clock_of_the_database_not_on_ours(
    leased: Database, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    ours = time.time() + hours * 3600.0
    monkeypatch.setattr(time, "time", lambda: ours)
    assert await _take(leased, ttl_s=60.0) is not None
    assert await _take(leased) is None
    async with leased.snapshot() as session:
        expires_at = (await session.get_one(Instance, _ID)).lock_expires_at
        assert 50.0 < expires_at - await read_clock(session) < 60.0


async def test_a_broken_lease_stops_the_outcome_of_the_work(leased: Database) -> None:
    token = await _take(leased)
    assert token is not None
    async with leased.transaction() as session:
        break_lease(await session.get_one(Instance, _ID))
    async with leased.transaction() as session:
        assert not await guarded_update(session, Instance, _ID, token, reason="old news")


async def test_a_row_that_does_not_exist_is_not_taken(leased: Database) -> None:
    async with leased.transaction() as session:
        await session.execute(update(Instance).values(reason="other"))
        assert await take(session, Instance, "ins-none", 60.0) is None


async def test_of_many_who_lock_a_free_row_one_gets_it_and_nobody_waits(leased: Database) -> None:
    async with leased.transaction() as session:
        assert await lock_free(session, Instance, _ID)
        if leased.engine.dialect.name == "postgresql":  # on SQLite the others wait to begin
            async with leased.transaction() as other:
                assert not await lock_free(other, Instance, _ID)
    async with leased.transaction() as session:
        assert await lock_free(session, Instance, _ID)
        assert not await lock_free(session, Instance, "ins-none")


async def test_a_row_that_is_held_is_not_locked_as_free(leased: Database) -> None:
    assert await _take(leased) is not None
    async with leased.transaction() as session:
        assert not await lock_free(session, Instance, _ID)

"""A controller's hold on one row: load, work without a session, apply under the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store import leases
from control_plane.store.leases import LeasedTable
from control_plane.store.session import Database


class LeaseLost(RuntimeError):
    """Somebody else has the row by now: nothing was written."""


class Hold:
    def __init__(self, database: Database, table: LeasedTable, row_id: str, token: str) -> None:
        self._database = database
        self._table = table
        self._row_id = row_id
        self._token = token
        self._given_back = False

    @asynccontextmanager
    async def apply(self) -> AsyncIterator[AsyncSession]:
        """The one transaction that writes what came of it, and gives the row back.

        Raises:
            LeaseLost: the row is somebody else's.
        """
        async with self._database.transaction() as session:
            # Giving back first checks the token and keeps the row locked until the commit.
            if not await leases.release(session, self._table, self._row_id, self._token):
                raise LeaseLost(f"{self._table.__tablename__} {self._row_id}")
            yield session
        self._given_back = True

    async def give_back(self) -> None:
        if not self._given_back:
            async with self._database.transaction() as session:
                await leases.release(session, self._table, self._row_id, self._token)


@asynccontextmanager
async def hold(
    database: Database, table: LeasedTable, row_id: str, lease_s: float
) -> AsyncIterator[Hold | None]:
    """Lease a row for the block; None if somebody else has it."""
    async with database.transaction() as session:
        token = await leases.take(session, table, row_id, lease_s)
    if token is None:
        yield None
        return
    held = Hold(database, table, row_id, token)
    try:
        yield held
    finally:
        await held.give_back()

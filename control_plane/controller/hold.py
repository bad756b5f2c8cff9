"""A controller's hold on one row: load, work without a session, apply under the token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store import leases
from control_plane.store.leases import LeasedTable
from control_plane.store.session import Database
from infra.telemetry import logger

log = logger(__name__)


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


async def each_row(ids: Iterable[str], reconcile: Callable[[str], Awaitable[int]]) -> int:
    """Reconcile row by row; one that cannot be understood does not keep the others waiting.

    Raises:
        RedisError, SQLAlchemyError, OSError: none of the others would fare better now.
    """
    changed = 0
    for row_id in ids:
        try:
            changed += await reconcile(row_id)
        except LeaseLost as lost:
            log.info("a row was taken over or changed by its user", row=str(lost))
        except (RedisError, SQLAlchemyError, OSError):
            raise
        except Exception:
            log.exception("a row could not be reconciled", row=row_id)
    return changed

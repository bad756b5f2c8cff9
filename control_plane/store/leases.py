"""Row leases (dstack's): one controller at a time works on a row, with no transaction held open.

Take the lease in one transaction, work without a session, write the outcome in another, guarded by
the token: if the lease has run out and someone else has the row, nothing is written.
"""

from __future__ import annotations

import secrets
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Update, and_, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now
from control_plane.store.tables import Deployment, Instance, Leased, Operation, Replica

LeasedTable = type[Deployment] | type[Replica] | type[Instance] | type[Operation]


def is_free(table: LeasedTable) -> ColumnElement[bool]:
    """Nobody holds the row, or whoever did has been silent for too long."""
    return or_(table.lock_token.is_(None), table.lock_expires_at < database_now())


async def take(session: AsyncSession, table: LeasedTable, row_id: str, ttl_s: float) -> str | None:
    """Lease a row; returns the token, or None if somebody else holds it or it is not there."""
    token = secrets.token_hex(16)
    taken = await _write(
        session,
        update(table)
        .where(table.id == row_id, is_free(table))
        .values(lock_token=token, lock_expires_at=database_now() + ttl_s),
    )
    return token if taken else None


async def renew(
    session: AsyncSession, table: LeasedTable, row_id: str, token: str, ttl_s: float
) -> bool:
    """Hold on for longer; False if the lease is lost."""
    return await guarded_update(
        session, table, row_id, token, lock_expires_at=database_now() + ttl_s
    )


async def guarded_update(
    session: AsyncSession, table: LeasedTable, row_id: str, token: str, **values: Any
) -> bool:
    """Write columns of a leased row; False, and nothing written, if the lease is lost.

    A lease that has run out but that nobody else took still counts as held.
    """
    return await _write(
        session,
        update(table).where(and_(table.id == row_id, table.lock_token == token)).values(**values),
    )


async def release(session: AsyncSession, table: LeasedTable, row_id: str, token: str) -> bool:
    """Give the row back; False if the lease was lost before."""
    return await guarded_update(session, table, row_id, token, lock_token=None, lock_expires_at=0.0)


def break_lease(row: Leased) -> None:
    """For a change by a user: what a controller concluded from the old row is not written."""
    row.lock_token = None
    row.lock_expires_at = 0.0


async def _write(session: AsyncSession, statement: Update) -> bool:
    result = await session.execute(statement.execution_options(synchronize_session=False))
    return cast(CursorResult[Any], result).rowcount == 1

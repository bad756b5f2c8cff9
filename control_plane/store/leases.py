"""Row leases (dstack's): one controller at a time works on a row, with no transaction held open.

Take the lease in one transaction, work without a session, write the outcome in another, guarded by
the token: if the lease has run out and someone else has the row, nothing is written.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now
from control_plane.store.tables import Deployment, Duty, Instance, Leased, Operation, Replica
from control_plane.store.writing import write_one

LeasedTable = type[Deployment] | type[Replica] | type[Instance] | type[Operation] | type[Duty]

FREE: Mapping[str, Any] = {"lock_token": None, "lock_expires_at": 0.0}
"""The columns of a row that nobody holds."""


def new_token() -> str:
    return secrets.token_hex(16)


def is_free(table: LeasedTable) -> ColumnElement[bool]:
    """Nobody holds the row, or whoever did has been silent for too long."""
    return or_(table.lock_token.is_(None), table.lock_expires_at < database_now())


async def take(session: AsyncSession, table: LeasedTable, row_id: str, ttl_s: float) -> str | None:
    """Lease a row; returns the token, or None if somebody else holds it or it is not there."""
    token = new_token()
    taken = await write_one(
        session,
        update(table)
        .where(table.id == row_id, is_free(table))
        .values(lock_token=token, lock_expires_at=database_now() + ttl_s),
    )
    return token if taken else None


async def guarded_update(
    session: AsyncSession, table: LeasedTable, row_id: str, token: str, **values: Any
) -> bool:
    """Write columns of a leased row; False, and nothing written, if the lease is lost.

    A lease that has run out but that nobody else took still counts as held.
    """
    return await write_one(
        session,
        update(table).where(and_(table.id == row_id, table.lock_token == token)).values(**values),
    )


async def release(session: AsyncSession, table: LeasedTable, row_id: str, token: str) -> bool:
    """Give the row back; False if the lease was lost before."""
    return await guarded_update(session, table, row_id, token, **FREE)


def break_lease(row: Leased) -> None:
    """For a change by a user: what a controller concluded from the old row is not written."""
    for column, value in FREE.items():
        setattr(row, column, value)


async def lock_free(session: AsyncSession, table: LeasedTable, row_id: str) -> bool:
    """Lock a row until the end of the transaction; False if somebody works on it, or it is not
    there. For work that waits for nothing but the store: no lease is written."""
    found = await session.scalar(
        select(table.id).where(table.id == row_id, is_free(table)).with_for_update(skip_locked=True)
    )
    return found is not None

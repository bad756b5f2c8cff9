"""Insert rows, or write over those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.tables import Base

Rows = Sequence[Mapping[str, Any]]
_AT_ONCE = 500
"""SQLite takes some thirty thousand values in a statement."""


async def upsert(session: AsyncSession, table: type[Base], rows: Rows) -> None:
    """Each row says all of its columns; by primary key, none twice."""
    await _upsert(session, table, rows, rising=())


async def upsert_rising(
    session: AsyncSession, table: type[Base], rows: Rows, rising: Sequence[str]
) -> None:
    """The same, but these columns never fall: of a count that only grows, whoever has seen more is
    right."""
    await _upsert(session, table, rows, rising)


async def _upsert(
    session: AsyncSession, table: type[Base], rows: Rows, rising: Sequence[str]
) -> None:
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    greater = func.greatest if on_postgresql else func.max
    keys = [column.name for column in table.__table__.primary_key]
    for first in range(0, len(rows), _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        insert = (postgresql.insert if on_postgresql else sqlite.insert)(table).values(list(part))
        new = insert.excluded
        written = {
            name: greater(table.__table__.c[name], new[name]) if name in rising else new[name]
            for name in part[0]
            if name not in keys
        }
        await session.execute(insert.on_conflict_do_update(index_elements=keys, set_=written))

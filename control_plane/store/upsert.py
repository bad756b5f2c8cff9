"""Insert rows, or write over those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Table, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.tables import Base

Rows = Sequence[Mapping[str, Any]]


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
    """One statement for all rows, however many: what is rendered for one row is kept."""
    if not rows:
        return
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    greater = func.greatest if on_postgresql else func.max
    target = cast(Table, table.__table__)
    keys = [each.name for each in target.primary_key]
    insert = (postgresql.insert if on_postgresql else sqlite.insert)(target)
    new = insert.excluded
    written = {
        name: greater(target.c[name], new[name]) if name in rising else new[name]
        for name in rows[0]
        if name not in keys
    }
    statement = insert.on_conflict_do_update(index_elements=keys, set_=written)
    await session.execute(statement, list(rows))

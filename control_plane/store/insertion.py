"""Insert a row, or find that somebody else was first, without an error in the middle."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import CursorResult
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from control_plane.store.tables import Base


async def insert_unless_there(
    session: AsyncSession, table: type[Base], unique: InstrumentedAttribute[str], **values: Any
) -> bool:
    """False, and nothing written, if a row has this value of the column `unique` already.

    A row that another transaction is just writing counts, if that transaction commits.
    """
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    insert = postgresql.insert if on_postgresql else sqlite.insert
    statement = insert(table).values(**values).on_conflict_do_nothing(index_elements=[unique])
    result = await session.execute(statement)
    return cast(CursorResult[Any], result).rowcount == 1

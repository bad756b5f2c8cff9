"""One way to write a row that may have changed since it was seen."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import CursorResult, Update
from sqlalchemy.ext.asyncio import AsyncSession


async def write_one(session: AsyncSession, statement: Update) -> bool:
    """Run an update of one row; False, and nothing written, if no row is as its conditions say."""
    result = await session.execute(statement.execution_options(synchronize_session=False))
    return cast(CursorResult[Any], result).rowcount == 1

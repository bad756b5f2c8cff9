from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.problem import Problem
from control_plane.store.tables import Operation


async def find(session: AsyncSession, operation_id: str) -> Operation:
    """Raises Problem 404."""
    operation = await session.get(Operation, operation_id)
    if operation is None:
        detail = f"there is no operation '{operation_id}'; starting one returns its id"
        raise Problem(404, "not-found", detail)
    return operation

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.problem import not_found
from control_plane.store.tables import Instance


async def find(session: AsyncSession, instance_id: str) -> Instance:
    """Raises Problem 404."""
    instance = await session.get(Instance, instance_id)
    if instance is None:
        raise not_found("instance", instance_id, "tamer status")
    return instance

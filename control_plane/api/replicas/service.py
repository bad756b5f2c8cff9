from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.context import Context
from control_plane.api.problem import not_found
from control_plane.api.replicas.schemas import LogLines
from control_plane.store.repositories import listings
from control_plane.store.repositories.listings import NamedReplica
from infra.log_stream import read_lines


async def find(session: AsyncSession, replica_id: str) -> NamedReplica:
    """Raises Problem 404."""
    found = await listings.replica(session, replica_id)
    if found is None:
        raise not_found("replica", replica_id, "tamer status")
    return found


async def read_logs(context: Context, replica_id: str, after: str) -> LogLines:
    """The last lines of a replica, ended or not. Raises Problem 404."""
    async with context.database.snapshot() as session:
        await find(session, replica_id)
    lines, position = await read_lines(context.tokens, replica_id, after)
    return LogLines(lines=lines, next=position)

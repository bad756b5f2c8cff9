"""How an instance row is taken by whoever has its one-time token."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now
from control_plane.store.leases import FREE
from control_plane.store.tables import Instance
from control_plane.store.writing import write_one
from infra.states import InstanceState


async def lock_by_hash(session: AsyncSession, token_hash: str) -> Instance | None:
    """The instance that this hash opens now, locked until the end of the transaction."""
    statement = select(Instance).where(
        Instance.join_token_hash == token_hash, Instance.join_token_expires_at > database_now()
    )
    return await session.scalar(statement.with_for_update())


async def take(
    session: AsyncSession,
    instance_id: str,
    token_hash: str,
    repetition_hash: str | None,
    capabilities: dict[str, Any],
) -> bool:
    """Use the token up; False, and nothing written, if somebody else was first.

    The row's lease is broken: what a controller concluded from the state before is not written.
    """
    statement = (
        update(Instance)
        .where(
            Instance.id == instance_id,
            Instance.join_token_hash == token_hash,
            Instance.joined_at.is_(None),
        )
        .values(
            state=InstanceState.JOINED.value,
            reason="",
            join_token_hash=repetition_hash,
            capabilities=capabilities,
            joined_at=database_now(),
            updated_at=database_now(),
            **FREE,
        )
    )
    return await write_one(session, statement)

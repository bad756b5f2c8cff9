"""Key rows: hashes of secrets, never the secrets."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.ids import Prefix, new_id
from control_plane.store.insertion import insert_unless_there
from control_plane.store.tables import ApiKey


async def add(
    session: AsyncSession, name: str, key_hash: str, tenant: str, scopes: list[str], now: float
) -> ApiKey:
    key = ApiKey(
        id=new_id(Prefix.KEY),
        name=name,
        hash=key_hash,
        tenant=tenant,
        scopes=scopes,
        created_at=now,
    )
    session.add(key)
    await session.flush()
    return key


async def add_once(
    session: AsyncSession, name: str, key_hash: str, tenant: str, scopes: list[str], now: float
) -> str | None:
    """The id of a new key; None, and nothing written, if a key has this hash, revoked or not."""
    key_id = new_id(Prefix.KEY)
    added = await insert_unless_there(
        session,
        ApiKey,
        ApiKey.hash,
        id=key_id,
        name=name,
        hash=key_hash,
        tenant=tenant,
        scopes=scopes,
        created_at=now,
    )
    return key_id if added else None


async def by_hash(session: AsyncSession, key_hash: str) -> ApiKey | None:
    """The key, revoked or not."""
    return await session.scalar(select(ApiKey).where(ApiKey.hash == key_hash))


async def is_first(session: AsyncSession) -> bool:
    """Whether no key was ever made here."""
    return await session.scalar(select(ApiKey.id).limit(1)) is None


async def valid(session: AsyncSession) -> Sequence[ApiKey]:
    """Every key that is not revoked."""
    return (await session.scalars(_valid())).all()


async def lock_valid(session: AsyncSession) -> Sequence[ApiKey]:
    """Every key that is not revoked, locked until the end of the transaction."""
    return (await session.scalars(_valid().with_for_update())).all()


def _valid() -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id)

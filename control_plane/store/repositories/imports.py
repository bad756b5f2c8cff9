"""What an import writes into the row of its model."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now
from control_plane.store.repositories.models import DELETED, IMPORTING, READY
from control_plane.store.tables import Model
from control_plane.store.writing import write_one


async def source_of(session: AsyncSession, model_id: str) -> str | None:
    """Where to import from; None when nobody waits for this model (any more)."""
    model = await session.get(Model, model_id)
    return model.source if model is not None and model.state == IMPORTING else None


async def reserve(session: AsyncSession, model_id: str, digest: str) -> None:
    """Say what is about to be stored, so that nobody removes it; `garbage` tells the whole rule."""
    await write_one(
        session,
        update(Model)
        .where(Model.id == model_id, Model.state == IMPORTING)
        .values(digest=digest, updated_at=database_now()),
    )


async def complete(session: AsyncSession, model_id: str, facts: dict[str, Any]) -> None:
    """The model is ready; `facts` are columns: digest, uri, sizes and limits."""
    await _leave_importing(session, model_id, state=READY, error="", **facts)


async def fail(session: AsyncSession, model_id: str, error: str) -> None:
    """Nothing was made: the name is free again, and this row keeps the reason."""
    await _leave_importing(session, model_id, state=DELETED, error=error)


async def _leave_importing(session: AsyncSession, model_id: str, **values: Any) -> None:
    await write_one(
        session,
        update(Model)
        .where(Model.id == model_id, Model.state == IMPORTING)
        .values(updated_at=database_now(), **values),
    )

"""What an import writes into the row of its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now
from control_plane.store.repositories.models import DELETED, IMPORTING, READY
from control_plane.store.tables import Model
from control_plane.store.writing import write_one


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that is to be made."""

    source: str
    packing: dict[str, Any]
    of_uri: str
    """Where the model lies that it is made of, if it is made of a registered one."""


async def wanted(session: AsyncSession, model_id: str) -> Wanted | None:
    """What to make; None when nobody waits for this model (any more)."""
    model = await session.get(Model, model_id)
    if model is None or model.state != IMPORTING:
        return None
    of = await session.get(Model, model.packed_from) if model.packed_from else None
    return Wanted(model.source, model.packing, of.uri if of is not None else "")


async def reserve(session: AsyncSession, model_id: str, digest: str) -> None:
    """Say what is about to be stored, so that nobody removes it; `garbage` tells the whole rule."""
    await write_one(
        session,
        update(Model)
        .where(Model.id == model_id, Model.state == IMPORTING)
        .values(digest=digest, updated_at=database_now()),
    )


async def complete(session: AsyncSession, model_id: str, facts: dict[str, Any]) -> None:
    """The model is ready; `facts` are columns: digest, uri, sizes and limits. One that replaces
    another takes its name; the other's row stays, as any deleted model's."""
    model = await session.get(Model, model_id)
    name: dict[str, Any] = {}
    if model is not None and model.state == IMPORTING and model.replaces:
        replaced = await session.get_one(Model, model.packed_from, with_for_update=True)
        name = {"name": replaced.name}
        await write_one(
            session,
            update(Model)
            .where(Model.id == replaced.id)
            .values(state=DELETED, updated_at=database_now()),
        )
    await _leave_importing(session, model_id, state=READY, error="", **name, **facts)


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

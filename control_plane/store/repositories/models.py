"""Model rows. A deleted one stays, for old revisions, but its name is free again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.ids import Prefix, new_id
from control_plane.store.tables import Model

IMPORTING = "importing"
READY = "ready"
DELETED = "deleted"
IS_LIVE = Model.state != DELETED


async def add(
    session: AsyncSession,
    name: str,
    source: str,
    now: float,
    packing: dict[str, Any] | None = None,
    packed_from: str = "",
    replaces: bool = False,
) -> Model:
    model = Model(
        id=new_id(Prefix.MODEL),
        name=name,
        source=source,
        state=IMPORTING,
        packing=packing or {},
        packed_from=packed_from,
        replaces=replaces,
        created_at=now,
        updated_at=now,
    )
    session.add(model)
    await session.flush()
    return model


async def find(session: AsyncSession, name: str) -> Model | None:
    """The live model of this name."""
    return await session.scalar(select(Model).where(Model.name == name, IS_LIVE))


async def keep(session: AsyncSession, name: str) -> Model | None:
    """As `find`; until the end of the transaction nobody changes or deletes it."""
    statement = select(Model).where(Model.name == name, Model.state != DELETED)
    return await session.scalar(statement.with_for_update(read=True))


async def lock(session: AsyncSession, name: str) -> Model | None:
    """The live model of this name, locked until the end of the transaction."""
    statement = select(Model).where(Model.name == name, IS_LIVE)
    return await session.scalar(statement.with_for_update())


async def being_packed(session: AsyncSession, model_id: str) -> list[Model]:
    """The models that are just being made of this one."""
    statement = select(Model).where(Model.packed_from == model_id, Model.state == IMPORTING)
    return list(await session.scalars(statement.order_by(Model.name)))


async def ready_names(session: AsyncSession) -> list[str]:
    statement = select(Model.name).where(Model.state == READY).order_by(Model.name)
    return list(await session.scalars(statement))


async def by_id(session: AsyncSession, model_ids: Collection[str]) -> dict[str, Model]:
    """The rows of these ids, deleted or not."""
    found = await session.scalars(select(Model).where(Model.id.in_(model_ids)))
    return {model.id: model for model in found}

"""How many rows are in which state; what has ended is left out."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from control_plane.store.repositories.instances import LIVE as INSTANCE_LIVE
from control_plane.store.repositories.models import IS_LIVE
from control_plane.store.repositories.operations import UNFINISHED
from control_plane.store.repositories.replicas import LIVE as REPLICA_LIVE
from control_plane.store.tables import Instance, Model, Operation, Replica


async def models(session: AsyncSession) -> dict[str, int]:
    return await _by_state(session, Model.state, IS_LIVE)


async def instances(session: AsyncSession) -> dict[str, int]:
    live = Instance.state.in_(INSTANCE_LIVE)
    return await _by_state(session, Instance.state, live)


async def replicas(session: AsyncSession) -> dict[str, dict[str, int]]:
    """Deployment id -> state -> count."""
    rows = await session.execute(
        select(Replica.deployment_id, Replica.state, func.count())
        .where(Replica.state.in_(REPLICA_LIVE))
        .group_by(Replica.deployment_id, Replica.state)
    )
    counted: dict[str, dict[str, int]] = {}
    for deployment_id, state, count in rows.all():
        counted.setdefault(deployment_id, {})[state] = count
    return counted


async def operations(session: AsyncSession) -> dict[tuple[str, ...], int]:
    """(Kind, state) -> count."""
    rows = await session.execute(
        select(Operation.kind, Operation.state, func.count())
        .where(Operation.state.in_(UNFINISHED))
        .group_by(Operation.kind, Operation.state)
    )
    return {(kind, state): count for kind, state, count in rows.all()}


async def _by_state(
    session: AsyncSession, state: InstrumentedAttribute[str], live: ColumnElement[bool]
) -> dict[str, int]:
    statement: Any = select(state, func.count()).where(live).group_by(state)
    rows = await session.execute(statement)
    return {row[0]: row[1] for row in rows}

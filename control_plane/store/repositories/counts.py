"""How many rows are in which state; what has ended is left out."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from control_plane.store.tables import Instance, Model, Replica
from infra.states import InstanceState, ReplicaState, is_final


async def models(session: AsyncSession) -> dict[str, int]:
    return await _by_state(session, Model.state, Model.state != "deleted")


async def instances(session: AsyncSession) -> dict[str, int]:
    ended = [state.value for state in InstanceState if is_final(state)]
    return await _by_state(session, Instance.state, Instance.state.not_in(ended))


async def replicas(session: AsyncSession) -> dict[str, dict[str, int]]:
    """Deployment id -> state -> count."""
    ended = [state.value for state in ReplicaState if is_final(state)]
    rows = await session.execute(
        select(Replica.deployment_id, Replica.state, func.count())
        .where(Replica.state.not_in(ended))
        .group_by(Replica.deployment_id, Replica.state)
    )
    counted: dict[str, dict[str, int]] = {}
    for deployment_id, state, count in rows.all():
        counted.setdefault(deployment_id, {})[state] = count
    return counted


async def _by_state(
    session: AsyncSession, state: InstrumentedAttribute[str], live: ColumnElement[bool]
) -> dict[str, int]:
    statement: Any = select(state, func.count()).where(live).group_by(state)
    rows = await session.execute(statement)
    return {row[0]: row[1] for row in rows}

"""Replica rows. A state is written only over the state that was seen, so no step is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now, read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.tables import Deployment, Replica
from control_plane.store.writing import write_one
from infra.states import ReplicaState, advance, is_final

ENDED = tuple(state.value for state in ReplicaState if is_final(state))


async def live(session: AsyncSession) -> Sequence[Replica]:
    """Replicas that have not ended, oldest first."""
    return await _live(session)


async def live_of(session: AsyncSession, deployment_id: str) -> Sequence[Replica]:
    """Those of one deployment, oldest first."""
    return await _live(session, Replica.deployment_id == deployment_id)


async def live_on(session: AsyncSession, instance_id: str) -> Sequence[Replica]:
    """Those on one instance, oldest first."""
    return await _live(session, Replica.instance_id == instance_id)


async def _live(session: AsyncSession, *among: ColumnElement[bool]) -> Sequence[Replica]:
    statement = select(Replica).where(Replica.state.not_in(ENDED), *among).order_by(Replica.id)
    return (await session.scalars(statement)).all()


async def ended_unready(
    session: AsyncSession, deployment: Deployment, limit: int
) -> Sequence[Replica]:
    """Replicas that failed before they were ready, newest first: those of the deployment's present
    generation, since one of them was ready."""
    own = (Replica.deployment_id == deployment.id, Replica.generation == deployment.generation)
    last_ready = (
        select(func.coalesce(func.max(Replica.ready_at), 0.0))
        .where(*own, Replica.ready_at.is_not(None))
        .scalar_subquery()
    )
    found = await session.scalars(
        select(Replica)
        .where(
            *own,
            Replica.revision_id == deployment.revision_id,
            Replica.state == ReplicaState.FAILED.value,
            Replica.ready_at.is_(None),
            Replica.ended_at > last_ready,
        )
        .order_by(Replica.ended_at.desc())
        .limit(limit)
    )
    return found.all()


async def newest_of_former(
    session: AsyncSession, deployment: Deployment, limit: int
) -> Sequence[Replica]:
    """The newest replica, ended or not, of each of the deployment's last other revisions."""
    newest = (
        select(func.max(Replica.id))
        .where(
            Replica.deployment_id == deployment.id,
            Replica.revision_id != deployment.revision_id,
        )
        .group_by(Replica.revision_id)
        .order_by(func.max(Replica.id).desc())
        .limit(limit)
    )
    found = await session.scalars(select(Replica).where(Replica.id.in_(newest)))
    return found.all()


async def add(
    session: AsyncSession, deployment: Deployment, revision_id: str | None = None
) -> Replica:
    """A replica of the deployment's present generation, and of its present revision unless it is
    another one's."""
    now = await read_clock(session)
    replica = Replica(
        id=new_id(Prefix.REPLICA),
        deployment_id=deployment.id,
        revision_id=revision_id or deployment.revision_id,
        generation=deployment.generation,
        state=ReplicaState.REQUESTED.value,
        created_at=now,
        updated_at=now,
    )
    session.add(replica)
    await session.flush()
    return replica


async def move(
    session: AsyncSession,
    replica_id: str,
    seen: ReplicaState,
    to: ReplicaState,
    reason: str,
    **values: Any,
) -> bool:
    """Write `to` over the state `seen`; False, and nothing written, if it is another by now.

    Raises:
        IllegalTransition: `to` may not follow `seen`.
    """
    advance(seen, to)
    if to is ReplicaState.READY:
        values["ready_at"] = func.coalesce(Replica.ready_at, database_now())
    if is_final(to):
        values["ended_at"] = database_now()
    return await write_one(
        session,
        update(Replica)
        .where(Replica.id == replica_id, Replica.state == seen.value)
        .values(state=to.value, reason=reason, updated_at=database_now(), **values),
    )

"""The cold-start ledger: a line is begun with its start, written while that lasts, then closed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now, read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.tables import Instance, Replica, Revision, Start
from control_plane.store.writing import write_one
from infra.starts import Phase


class OpenStart(NamedTuple):
    start: Start
    replica: Replica
    instance: Instance | None


class BootSample(NamedTuple):
    """How long one start took, from the request of the replica until it was ready."""

    instance_type: str
    tier: str
    woken: bool
    seconds: float


async def begin(session: AsyncSession, replica: Replica, wakes: int, decide_s: float) -> Start:
    """A line for a start that has just been decided; `decide_s`: how long somebody had waited."""
    start = Start(
        id=new_id(Prefix.START),
        replica_id=replica.id,
        wakes=wakes,
        deployment_id=replica.deployment_id,
        revision_id=replica.revision_id,
        phases_s={Phase.DECIDE.value: round(decide_s, 6)},
        created_at=await read_clock(session),
    )
    session.add(start)
    return start


async def launched(session: AsyncSession, replica_id: str) -> None:
    """Its instance is there, or on its way; what comes later does not move that time."""
    await write_one(
        session,
        update(Start)
        .where(Start.replica_id == replica_id, Start.wakes == 0, Start.launched_at.is_(None))
        .values(launched_at=database_now()),
    )


async def unclosed(session: AsyncSession) -> Sequence[Start]:
    """Oldest first."""
    return (
        await session.scalars(select(Start).where(Start.closed_at.is_(None)).order_by(Start.id))
    ).all()


async def open_ones(session: AsyncSession, start_ids: Sequence[str]) -> Sequence[OpenStart]:
    """Those of these lines that are not closed, oldest first."""
    found = await session.execute(
        select(Start, Replica, Instance)
        .join(Replica, Replica.id == Start.replica_id)
        .outerjoin(Instance, Instance.id == Replica.instance_id)
        .where(Start.id.in_(start_ids), Start.closed_at.is_(None))
        .order_by(Start.id)
    )
    return [OpenStart(*row) for row in found]


async def write(session: AsyncSession, start_id: str, values: dict[str, Any], close: bool) -> bool:
    """False, and nothing written, where somebody has closed it."""
    closing = {"closed_at": database_now()} if close else {}
    return await write_one(
        session,
        update(Start)
        .where(Start.id == start_id, Start.closed_at.is_(None))
        .values(**values, **closing),
    )


async def last_ready(session: AsyncSession, revision_ids: Collection[str]) -> dict[str, float]:
    """By revision, when a start of it was last ready; one that never was is missing."""
    newest = (
        select(func.max(Start.ready_at))
        .where(Start.revision_id == Revision.id)
        .correlate(Revision)
        .scalar_subquery()
    )
    found = await session.execute(select(Revision.id, newest).where(Revision.id.in_(revision_ids)))
    return {revision_id: ready_at for revision_id, ready_at in found if ready_at is not None}


async def boot_samples(session: AsyncSession, revision_id: str, limit: int) -> Sequence[BootSample]:
    """Of the last starts of a revision that became ready, the newest first."""
    found = await session.execute(
        select(Start.instance_type, Start.tier, Start.wakes, Start.ready_at - Start.created_at)
        .where(Start.revision_id == revision_id, Start.ready_at.is_not(None))
        .order_by(Start.ready_at.desc())
        .limit(limit)
    )
    return [
        BootSample(kind, tier, wakes > 0, seconds)
        for kind, tier, wakes, seconds in found
        if seconds is not None
    ]


async def seconds_of_model(session: AsyncSession, digest: str, limit: int) -> list[float]:
    """How long the last starts from nothing of any revision of a model took, newest first."""
    found = await session.scalars(
        select(Start.ready_at - Start.created_at)
        .join(Revision, Revision.id == Start.revision_id)
        .where(Revision.model_digest == digest, Start.ready_at.is_not(None), Start.wakes == 0)
        .order_by(Start.ready_at.desc())
        .limit(limit)
    )
    return [seconds for seconds in found if seconds is not None]


async def prune(session: AsyncSession, older_than_s: float) -> None:
    """Forget closed lines that are older."""
    old = Start.created_at < database_now() - older_than_s
    await session.execute(delete(Start).where(old, Start.closed_at.is_not(None)))

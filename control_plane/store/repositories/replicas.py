"""Replica rows. A state is written only over the state that was seen, so no step is lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from control_plane.store.clock import database_now, read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.row_version import row_version
from control_plane.store.tables import Deployment, Replica, Rollout
from control_plane.store.writing import write_one
from infra.states import ReplicaState, advance, is_final

ENDED = tuple(state.value for state in ReplicaState if is_final(state))
LIVE = tuple(state.value for state in ReplicaState if not is_final(state))
"""Named one by one: an index finds rows that are in these states, not rows that are in no other."""


class Standing(NamedTuple):
    deployment_id: str
    revision_id: str
    state: str
    replicas: int
    newest_id: str


async def live(session: AsyncSession) -> Sequence[Replica]:
    """Replicas that have not ended, oldest first."""
    return await _live(session)


async def versions(session: AsyncSession) -> dict[str, str | None]:
    """Of those that `live` finds, in its order, as `row_version` says them."""
    found = await session.execute(
        select(Replica.id, row_version(Replica)).where(Replica.state.in_(LIVE)).order_by(Replica.id)
    )
    return dict(found.all())


async def live_of(session: AsyncSession, deployment_id: str) -> Sequence[Replica]:
    """Those of one deployment, oldest first."""
    return await _live(session, Replica.deployment_id == deployment_id)


async def live_on(session: AsyncSession, instance_id: str) -> Sequence[Replica]:
    """Those on one instance, oldest first."""
    return await _live(session, Replica.instance_id == instance_id)


async def live_among(
    session: AsyncSession, deployment_ids: Collection[str], replica_ids: Collection[str]
) -> Sequence[Replica]:
    """Those of these deployments and those of these ids, oldest first."""
    if not deployment_ids and not replica_ids:
        return ()
    of_these = or_(Replica.deployment_id.in_(deployment_ids), Replica.id.in_(replica_ids))
    return await _live(session, of_these)


async def _live(session: AsyncSession, *among: ColumnElement[bool]) -> Sequence[Replica]:
    statement = select(Replica).where(Replica.state.in_(LIVE), *among).order_by(Replica.id)
    return (await session.scalars(statement)).all()


async def ended_unready(
    session: AsyncSession, deployment_ids: Sequence[str], limit: int
) -> dict[str, list[Replica]]:
    """By deployment, replicas that failed before they were ready, newest first: those of its
    present generation and revision, since one of them was ready; one without any is missing."""
    of_wanted = (Deployment.id.in_(deployment_ids),)
    return _at_most(limit, await _unready(session, Deployment.revision_id, *of_wanted))


async def ended_unready_leaving(
    session: AsyncSession, deployment_ids: Sequence[str], limit: int
) -> dict[str, list[Replica]]:
    """The same of the revision that the open rollout of each deployment leaves."""
    leaving = (
        Deployment.id.in_(deployment_ids),
        Rollout.deployment_id == Deployment.id,
        Rollout.ended_at.is_(None),
    )
    return _at_most(limit, await _unready(session, Rollout.from_revision_id, *leaving))


async def _unready(
    session: AsyncSession, revision_id: InstrumentedAttribute[str], *among: ColumnElement[bool]
) -> Sequence[Replica]:
    served = aliased(Replica)
    last_ready = (
        select(func.coalesce(func.max(served.ready_at), 0.0))
        .where(
            served.deployment_id == Replica.deployment_id,
            served.generation == Replica.generation,
            served.revision_id == Replica.revision_id,
            served.ready_at.is_not(None),
        )
        .correlate(Replica)
        .scalar_subquery()
    )
    found = await session.scalars(
        select(Replica)
        .join(Deployment, Deployment.id == Replica.deployment_id)
        .where(
            *among,
            Replica.generation == Deployment.generation,
            Replica.revision_id == revision_id,
            Replica.state == ReplicaState.FAILED.value,
            Replica.ready_at.is_(None),
            Replica.ended_at > last_ready,
        )
        .order_by(Replica.ended_at.desc())
    )
    return found.all()


async def newest_of_former(
    session: AsyncSession, deployment_ids: Sequence[str], limit: int
) -> dict[str, list[Replica]]:
    """By deployment, the newest replica, ended or not, of each of its last other revisions, newest
    first; one that has none is missing."""
    newest = (
        select(func.max(Replica.id))
        .join(Deployment, Deployment.id == Replica.deployment_id)
        .where(Deployment.id.in_(deployment_ids), Replica.revision_id != Deployment.revision_id)
        .group_by(Replica.deployment_id, Replica.revision_id)
    )
    found = await session.scalars(
        select(Replica).where(Replica.id.in_(newest)).order_by(Replica.id.desc())
    )
    return _at_most(limit, found)


def _at_most(limit: int, found: Iterable[Replica]) -> dict[str, list[Replica]]:
    by_deployment: dict[str, list[Replica]] = {}
    for replica in found:
        own = by_deployment.setdefault(replica.deployment_id, [])
        if len(own) < limit:
            own.append(replica)
    return by_deployment


async def standing(session: AsyncSession) -> Sequence[Standing]:
    """How many have not ended, by what they are of and how far they are."""
    rows = await session.execute(
        select(
            Replica.deployment_id,
            Replica.revision_id,
            Replica.state,
            func.count(),
            func.max(Replica.id),
        )
        .where(Replica.state.in_(LIVE))
        .group_by(Replica.deployment_id, Replica.revision_id, Replica.state)
    )
    return [Standing(*row) for row in rows]


async def standing_of(session: AsyncSession, deployment_id: str) -> dict[str, dict[str, int]]:
    """How many of a deployment's have not ended, by revision and state."""
    rows = await session.execute(
        select(Replica.revision_id, Replica.state, func.count())
        .where(Replica.state.in_(LIVE), Replica.deployment_id == deployment_id)
        .group_by(Replica.revision_id, Replica.state)
    )
    found: dict[str, dict[str, int]] = {}
    for revision_id, state, count in rows:
        found.setdefault(revision_id, {})[state] = count
    return found


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
    if "instance_id" in values:
        values["placed_at"] = database_now()
    return await write_one(
        session,
        update(Replica)
        .where(Replica.id == replica_id, Replica.state == seen.value)
        .values(state=to.value, reason=reason, updated_at=database_now(), **values),
    )


async def place(session: AsyncSession, replica_id: str, instance_id: str) -> bool:
    """Give an instance to one that waits for it; False, and nothing written, if it does not."""
    return await write_one(
        session,
        update(Replica)
        .where(
            Replica.id == replica_id,
            Replica.state == ReplicaState.REQUESTED.value,
            Replica.instance_id.is_(None),
        )
        .values(
            state=ReplicaState.LAUNCHING.value,
            reason="",
            instance_id=instance_id,
            placed_at=database_now(),
            updated_at=database_now(),
        ),
    )


async def displace(session: AsyncSession, replica_id: str, instance_id: str, reason: str) -> bool:
    """Its instance is not to be had: it waits for another one."""
    return await write_one(
        session,
        update(Replica)
        .where(
            Replica.id == replica_id,
            Replica.state.in_((ReplicaState.LAUNCHING.value, ReplicaState.BOOTING.value)),
            Replica.instance_id == instance_id,
        )
        .values(
            state=ReplicaState.REQUESTED.value,
            reason=reason,
            instance_id=None,
            placed_at=None,
            updated_at=database_now(),
        ),
    )


async def deployments_on(session: AsyncSession, instance_id: str) -> Sequence[str]:
    """The deployments of all replicas that an instance has, or had."""
    found = await session.scalars(
        select(Replica.deployment_id)
        .where(Replica.instance_id == instance_id)
        .distinct()
        .order_by(Replica.deployment_id)
    )
    return found.all()


async def retire(session: AsyncSession, replica_id: str, reason: str) -> bool:
    """Have it replaced elsewhere; False, and nothing written, where it is not ready."""
    return await write_one(
        session,
        update(Replica)
        .where(
            Replica.id == replica_id,
            Replica.state == ReplicaState.READY.value,
            Replica.retiring == "",
        )
        .values(retiring=reason),
    )

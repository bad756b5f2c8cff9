"""Instance rows, and what each of them must run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now, read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories.replicas import LIVE as REPLICA_LIVE
from control_plane.store.row_version import row_version
from control_plane.store.tables import Deployment, Instance, Model, Replica, Revision
from control_plane.store.writing import write_one
from infra.names import JOINED_CLOUD
from infra.states import InstanceState, ReplicaState, advance, is_final
from infra.storage.served import served_uri
from infra.wire import Assignment, ReplicaSpec

STANDBY = "standby"
"""As `scaling.keep_warm` says it."""
ENDED = tuple(state.value for state in InstanceState if is_final(state))
LIVE = tuple(state.value for state in InstanceState if not is_final(state))


async def live(session: AsyncSession) -> Sequence[Instance]:
    """Instances that are not known to be gone, oldest first; lost ones may still cost money."""
    found = await session.scalars(
        select(Instance).where(Instance.state.in_(LIVE)).order_by(Instance.id)
    )
    return found.all()


async def versions(session: AsyncSession) -> dict[str, str | None]:
    """Of those that `live` finds, in its order, as `row_version` says them."""
    found = await session.execute(
        select(Instance.id, row_version(Instance))
        .where(Instance.state.in_(LIVE))
        .order_by(Instance.id)
    )
    return dict(found.all())


async def newest_joins_s(session: AsyncSession, cloud: str, most: int) -> Sequence[float]:
    """Seconds from the request of an instance to its join, of the newest that joined."""
    found = await session.execute(
        select(Instance.created_at, Instance.joined_at)
        .where(Instance.cloud == cloud, Instance.joined_at.is_not(None))
        .order_by(Instance.id.desc())
        .limit(most)
    )
    return [joined_at - created_at for created_at, joined_at in found if joined_at is not None]


async def live_among(session: AsyncSession, instance_ids: Collection[str]) -> Sequence[Instance]:
    """Those of these ids that are not known to be gone."""
    if not instance_ids:
        return ()
    statement = select(Instance).where(Instance.id.in_(instance_ids), Instance.state.in_(LIVE))
    return (await session.scalars(statement)).all()


async def by_id(session: AsyncSession, instance_ids: Sequence[str]) -> dict[str, Instance]:
    """The rows of these ids; an id that no row has is missing."""
    if not instance_ids:
        return {}
    found = await session.scalars(select(Instance).where(Instance.id.in_(instance_ids)))
    return {instance.id: instance for instance in found}


async def add(
    session: AsyncSession,
    cloud: str,
    instance_type: str,
    zone: str,
    market: str,
    usd_per_hour: float = 0.0,
    alternatives: Sequence[Mapping[str, Any]] = (),
) -> Instance:
    """One to launch.

    Args:
        alternatives: as `Instance.alternatives` says.
    """
    now = await read_clock(session)
    instance = Instance(
        id=new_id(Prefix.INSTANCE),
        cloud=cloud,
        instance_type=instance_type,
        zone=zone,
        market=market,
        usd_per_hour=usd_per_hour,
        alternatives=list(alternatives),
        state=InstanceState.REQUESTED.value,
        assignment_version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(instance)
    await session.flush()
    return instance


async def move(
    session: AsyncSession,
    instance_id: str,
    seen: InstanceState,
    to: InstanceState,
    reason: str,
    **values: Any,
) -> bool:
    """Write `to` over the state `seen`; False, and nothing written, if it is another by now.

    Raises:
        IllegalTransition: `to` may not follow `seen`.
    """
    advance(seen, to)
    if to in (InstanceState.DRAINING, InstanceState.LOST, InstanceState.TERMINATED):
        values["join_token_hash"] = None  # too late to join
    if to is InstanceState.TERMINATED:
        values.setdefault("ended_at", database_now())
    if to is InstanceState.DRAINING:
        values["assignment_version"] = Instance.assignment_version + 1
    return await write_one(
        session,
        update(Instance)
        .where(Instance.id == instance_id, Instance.state == seen.value)
        .values(state=to.value, reason=reason, updated_at=database_now(), **values),
    )


async def expect_join(
    session: AsyncSession, instance_id: str, token_hash: str, token_s: float
) -> bool:
    """Let whoever has this token join as this instance, once; False if it is too late for that."""
    return await write_one(
        session,
        update(Instance)
        .where(Instance.id == instance_id, Instance.state == InstanceState.LAUNCHING.value)
        .values(join_token_hash=token_hash, join_token_expires_at=database_now() + token_s),
    )


async def launched(
    session: AsyncSession,
    instance_id: str,
    cloud_id: str,
    where: Mapping[str, Any],
    launched_at: float = 0.0,
) -> None:
    """The cloud has made it.

    Args:
        where: columns of the place and price that it took, if it had a choice.
        launched_at: since when it costs money, as the cloud says; 0 where it does not. A clock that
            is wrong does no harm: it is taken between the request of the row and now.
    """
    row = await session.get_one(Instance, instance_id)
    now = await read_clock(session)
    since = min(max(launched_at, row.created_at), now) if launched_at else now
    await write_one(
        session,
        update(Instance)
        .where(Instance.id == instance_id)
        .values(cloud_id=cloud_id, launched_at=func.coalesce(Instance.launched_at, since), **where),
    )


async def refuse(session: AsyncSession, instance_id: str, reason: str) -> None:
    """The cloud had no machine to give, or took it back before all on it served."""
    await write_one(
        session,
        update(Instance).where(Instance.id == instance_id).values(refused=True, reason=reason),
    )


async def by_cloud_id(session: AsyncSession, cloud: str, cloud_id: str) -> Instance | None:
    """The newest that is this machine of the cloud's."""
    found = await session.scalars(
        select(Instance)
        .where(Instance.cloud == cloud, Instance.cloud_id == cloud_id)
        .order_by(Instance.id.desc())
        .limit(1)
    )
    return found.first()


async def change_assignment(session: AsyncSession, instance_id: str) -> None:
    """Number a new assignment; belongs into every transaction that changes what one says."""
    await write_one(
        session,
        update(Instance)
        .where(Instance.id == instance_id)
        .values(assignment_version=Instance.assignment_version + 1),
    )


async def keep(session: AsyncSession, instance_id: str, deployment_id: str | None) -> bool:
    """Let it stay for a deployment though nothing runs on it, or (None) no longer; False, and
    nothing written, where it does not stay in any case."""
    return await write_one(
        session,
        update(Instance)
        .where(Instance.id == instance_id, Instance.state == InstanceState.JOINED.value)
        .values(kept_for=deployment_id, assignment_version=Instance.assignment_version + 1),
    )


async def kept_for(session: AsyncSession, deployment_id: str) -> Sequence[Instance]:
    """Those that stay for it, oldest first."""
    found = await session.scalars(
        select(Instance)
        .where(Instance.kept_for == deployment_id, Instance.state == InstanceState.JOINED.value)
        .order_by(Instance.id)
    )
    return found.all()


async def assignment(session: AsyncSession, instance_id: str) -> Assignment | None:
    """What the instance must run now; None if there is no such instance."""
    return next(iter(await assignments(session, [instance_id])), None)


async def assignments(session: AsyncSession, instance_ids: Sequence[str]) -> list[Assignment]:
    """What these instances must run now; one that there is not is missing.

    Numbers are read before replicas: should those change in between, the newer content goes out
    under the older number and again under its own, never the other way round.
    """
    numbered = await session.execute(
        select(
            Instance.id,
            Instance.assignment_version,
            Instance.state,
            Instance.cloud,
            Instance.kept_for,
        ).where(Instance.id.in_(instance_ids))
    )
    rows = numbered.all()
    running = await session.execute(
        select(Replica, Revision, Model)
        .join(Revision, Revision.id == Replica.revision_id)
        .join(Model, Model.id == Revision.model_id)
        .where(Replica.instance_id.in_(instance_ids), Replica.state.in_(REPLICA_LIVE))
        .order_by(Replica.id)
    )
    clouds = {row.id: row.cloud for row in rows}
    specs: dict[str, list[ReplicaSpec]] = {}
    for replica, revision, model in running:
        instance_id = replica.instance_id or ""
        uri = _uri(model, clouds.get(instance_id, ""))
        specs.setdefault(instance_id, []).append(_spec(replica, revision, uri))
    standbys = await _standbys(session, {row.kept_for for row in rows if row.kept_for})
    return [
        Assignment(
            instance_id=row.id,
            version=row.assignment_version,
            replicas=specs.get(row.id, []),
            leave=row.state == InstanceState.DRAINING.value,
            standby=standbys.get(row.kept_for or "", ""),
        )
        for row in rows
    ]


async def _standbys(session: AsyncSession, deployment_ids: Collection[str]) -> dict[str, str]:
    """By deployment, the engine of which a process shall wait for it, where one shall."""
    if not deployment_ids:
        return {}
    found = await session.execute(
        select(Deployment.id, Deployment.spec, Revision.engine)
        .join(Revision, Revision.id == Deployment.revision_id)
        .where(Deployment.id.in_(deployment_ids))
    )
    return {
        id: engine
        for id, spec, engine in found
        if spec.get("scaling", {}).get("keep_warm") == STANDBY
    }


def _uri(model: Model, cloud: str) -> str:
    """A folder of the control plane's is served to those who cannot look into it."""
    elsewhere = cloud == JOINED_CLOUD and model.uri.startswith("file:")
    return served_uri(model.digest) if elsewhere else model.uri


def _spec(replica: Replica, revision: Revision, model_uri: str) -> ReplicaSpec:
    return ReplicaSpec(
        replica_id=replica.id,
        revision_id=revision.id,
        model_uri=model_uri,
        engine=revision.engine,
        options=revision.options,
        draining=replica.state == ReplicaState.DRAINING.value,
        asleep=replica.state == ReplicaState.SLEEPING.value,
        wakes=replica.wakes,
    )

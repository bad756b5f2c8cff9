"""Rollout rows: at most one of a deployment is open."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories import decisions
from control_plane.store.tables import Deployment, Replica, Rollout
from control_plane.store.writing import write_one
from infra.states import ReplicaState, RolloutState, advance, is_final

REPLACE = "replace"
"""The strategy by which traffic goes where replicas are ready."""
OF_REVISION = ("model", "engine")
"""The fields of a specification that a revision is made of."""


async def begin(
    session: AsyncSession,
    deployment: Deployment,
    from_revision_id: str,
    from_spec: dict[str, Any],
    now: float,
) -> Rollout:
    """To what the deployment wants now; its row is locked, and has no open rollout."""
    rollout = Rollout(
        id=new_id(Prefix.ROLLOUT),
        deployment_id=deployment.id,
        from_revision_id=from_revision_id,
        to_revision_id=deployment.revision_id,
        from_spec={field: from_spec[field] for field in OF_REVISION if field in from_spec},
        state=RolloutState.PREPARING.value,
        created_at=now,
        state_at=now,
        updated_at=now,
    )
    session.add(rollout)
    await session.flush()
    return rollout


async def open_of(session: AsyncSession, deployment_id: str) -> Rollout | None:
    found = await session.scalars(
        select(Rollout).where(Rollout.deployment_id == deployment_id, Rollout.ended_at.is_(None))
    )
    return found.one_or_none()


async def all_open(session: AsyncSession) -> dict[str, Rollout]:
    """By deployment."""
    found = await session.scalars(select(Rollout).where(Rollout.ended_at.is_(None)))
    return {each.deployment_id: each for each in found}


async def open_among(session: AsyncSession, deployment_ids: Collection[str]) -> dict[str, Rollout]:
    """As `all_open`, of these."""
    found = await session.scalars(
        select(Rollout).where(Rollout.deployment_id.in_(deployment_ids), Rollout.ended_at.is_(None))
    )
    return {each.deployment_id: each for each in found}


async def tries(
    session: AsyncSession, deployment_ids: Collection[str]
) -> dict[str, dict[str, Rollout]]:
    """By deployment and revision that serves, the newest rollout to it."""
    if not deployment_ids:
        return {}
    serves = exists().where(
        Replica.deployment_id == Rollout.deployment_id,
        Replica.revision_id == Rollout.to_revision_id,
        Replica.state == ReplicaState.READY.value,
    )
    found = await session.scalars(
        select(Rollout)
        .where(Rollout.deployment_id.in_(deployment_ids), serves)
        .order_by(Rollout.created_at, Rollout.id)
    )
    newest: dict[str, dict[str, Rollout]] = {}
    for each in found:
        newest.setdefault(each.deployment_id, {})[each.to_revision_id] = each
    return newest


async def hand_back(session: AsyncSession, rollout_ids: Collection[str]) -> None:
    """Nothing of the traffic goes to what these rollouts brought."""
    await session.execute(update(Rollout).where(Rollout.id.in_(rollout_ids)).values(percent=0))


async def traffic_of(session: AsyncSession, rollout: Rollout, spec: dict[str, Any]) -> int:
    """Percent of the traffic that goes to what an open rollout brings.

    Args:
        spec: its deployment's.
    """
    if (spec.get("rollout", {}).get("strategy") or REPLACE) != REPLACE:
        return rollout.percent
    found = await session.execute(
        select(Replica.revision_id, func.count())
        .where(
            Replica.deployment_id == rollout.deployment_id,
            Replica.revision_id.in_((rollout.from_revision_id, rollout.to_revision_id)),
            Replica.state == ReplicaState.READY.value,
        )
        .group_by(Replica.revision_id)
    )
    ready = {row[0]: row[1] for row in found}
    new = ready.get(rollout.to_revision_id, 0)
    return round(100 * new / sum(ready.values())) if new else 0


async def newest_of(
    session: AsyncSession, deployment_id: str, to_revision_id: str | None = None
) -> Rollout | None:
    """The last one of a deployment, or its last try to come to one revision."""
    wanted = [Rollout.deployment_id == deployment_id]
    if to_revision_id is not None:
        wanted.append(Rollout.to_revision_id == to_revision_id)
    found = await session.scalars(
        select(Rollout)
        .where(*wanted)
        .order_by(Rollout.created_at.desc(), Rollout.id.desc())
        .limit(1)
    )
    return found.one_or_none()


async def has_served(session: AsyncSession, deployment_id: str, revision_id: str) -> bool:
    """Whether a replica of the revision was ever ready: else there is nothing to go back to."""
    found = await session.scalars(
        select(Replica.id)
        .where(
            Replica.deployment_id == deployment_id,
            Replica.revision_id == revision_id,
            Replica.ready_at.is_not(None),
        )
        .limit(1)
    )
    return found.first() is not None


async def move(
    session: AsyncSession, rollout: Rollout, to: RolloutState, reason: str, **values: Any
) -> bool:
    """Write over what was seen; False, and nothing written, where somebody has moved it since.

    Raises:
        IllegalTransition: `to` may not follow.
    """
    seen = RolloutState(rollout.state)
    advance(seen, to)
    now = await read_clock(session)
    values["updated_at"] = now
    if to is not seen:
        values["state_at"] = now
    if is_final(to):
        values["ended_at"] = now
    return await write_one(
        session,
        update(Rollout)
        .where(
            Rollout.id == rollout.id,
            Rollout.state == rollout.state,
            Rollout.step == rollout.step,
            Rollout.looks == rollout.looks,
            Rollout.promoted == rollout.promoted,
        )
        .values(state=to.value, reason=reason, **values),
    )


async def promote(session: AsyncSession, rollout: Rollout) -> None:
    """Its owner wants the rest of it done without watching."""
    now = await read_clock(session)
    statement = update(Rollout).where(Rollout.id == rollout.id, Rollout.ended_at.is_(None))
    await write_one(session, statement.values(promoted=True, updated_at=now))


async def go_back(
    session: AsyncSession,
    deployment: Deployment,
    rollout: Rollout,
    to: RolloutState,
    reason: str,
    formula: str,
    inputs: dict[str, Any],
    percent: int = 0,
) -> bool:
    """End a rollout with the old revision: the specification says it again, and nothing else of it
    changes. False, and nothing written, where somebody has moved it since.

    Args:
        to: rolled_back or aborted.
        reason: a code, for the decision.
        percent: of the traffic, to what it brought, until the old revision has its replicas.
    """
    if not await move(session, rollout, to, formula, percent=percent):
        return False
    left = deployment.revision_id
    deployment.spec = {**deployment.spec, **rollout.from_spec}
    deployment.revision_id = rollout.from_revision_id
    deployment.generation += 1
    deployment.updated_at = await read_clock(session)
    outcome = {"state": to.value, "revision": rollout.from_revision_id, "left": left}
    kind = decisions.ROLLOUT
    await decisions.add(session, deployment.id, kind, reason, formula, inputs, outcome)
    return True

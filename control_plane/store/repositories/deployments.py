"""Deployment rows. A live one is one that is not deleted; names are unique among those."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.repositories.listings import Deployed, live_deployments
from control_plane.store.row_version import row_version
from control_plane.store.tables import Deployment, Model, Revision, Rollout
from control_plane.store.writing import write_one
from infra.states import DeploymentState


async def add(
    session: AsyncSession,
    deployment_id: str,
    name: str,
    spec: dict[str, Any],
    revision: Revision,
    now: float,
) -> Deployment:
    deployment = Deployment(
        id=deployment_id,
        name=name,
        spec=spec,
        revision_id=revision.id,
        state=DeploymentState.PENDING.value,
        created_at=now,
        updated_at=now,
    )
    session.add(deployment)
    await session.flush()
    return deployment


async def find(session: AsyncSession, name: str) -> Deployed | None:
    """The live deployment of this name."""
    rows = await session.execute(live_deployments().where(Deployment.name == name))
    row = rows.one_or_none()
    return None if row is None else Deployed(*row)


async def lock(session: AsyncSession, name: str) -> Deployed | None:
    """The live deployment of this name, locked until the end of the transaction."""
    # The revision in a statement of its own: PostgreSQL would compare a row for which it waited
    # with the revision that it joined before it waited, and find none.
    deployment = await session.scalar(
        select(Deployment)
        .where(Deployment.name == name, Deployment.state != DeploymentState.DELETED.value)
        .with_for_update()
    )
    if deployment is None:
        return None
    return Deployed(deployment, await session.get_one(Revision, deployment.revision_id))


async def all_live(session: AsyncSession) -> list[Deployed]:
    """By name."""
    rows = await session.execute(live_deployments().order_by(Deployment.name))
    return [Deployed(*row) for row in rows]


async def versions(session: AsyncSession) -> dict[str, str | None]:
    """Of those that `all_live` finds, as `row_version` says them."""
    found = await session.execute(
        live_deployments()
        .with_only_columns(Deployment.id, row_version(Deployment))
        .order_by(Deployment.name)
    )
    return dict(found.all())


async def live_among(session: AsyncSession, deployment_ids: Collection[str]) -> list[Deployed]:
    """As `all_live`, of these."""
    rows = await session.execute(live_deployments().where(Deployment.id.in_(deployment_ids)))
    return [Deployed(*row) for row in rows]


async def spare(session: AsyncSession, deployment_id: str, replicas: int) -> bool:
    """So many beside its target; False, and nothing written, where it is so already."""
    return await write_one(
        session,
        update(Deployment)
        .where(Deployment.id == deployment_id, Deployment.spare_replicas != replicas)
        .values(spare_replicas=replicas),
    )


async def names_that_use(session: AsyncSession, model: Model) -> list[str]:
    may_go_back = (
        select(Rollout.deployment_id)
        .join(Revision, Revision.id == Rollout.from_revision_id)
        .where(Rollout.ended_at.is_(None), Revision.model_id == model.id)
    )
    uses = or_(
        Revision.model_id == model.id,
        Deployment.spec["model"].as_string() == model.name,
        Deployment.id.in_(may_go_back),
    )
    statement = live_deployments().with_only_columns(Deployment.name).where(uses)
    return list(await session.scalars(statement.order_by(Deployment.name)))


async def newest_named(session: AsyncSession, name: str) -> Deployment | None:
    """The newest of this name, deleted or not."""
    found = await session.scalars(
        select(Deployment).where(Deployment.name == name).order_by(Deployment.id.desc()).limit(1)
    )
    return found.first()


async def ids_named(session: AsyncSession, names: Collection[str]) -> dict[str, list[str]]:
    """Of all that have, or had, one of these names, oldest first, by name."""
    if not names:
        return {}
    found = await session.execute(
        select(Deployment.name, Deployment.id)
        .where(Deployment.name.in_(names))
        .order_by(Deployment.id)
    )
    ids: dict[str, list[str]] = {}
    for name, id in found:
        ids.setdefault(name, []).append(id)
    return ids


async def names(session: AsyncSession, deployment_ids: Collection[str]) -> dict[str, str]:
    """By id, of deleted ones too."""
    found = await session.execute(
        select(Deployment.id, Deployment.name).where(Deployment.id.in_(deployment_ids))
    )
    return {row.id: row.name for row in found}

"""Revision rows: immutable, named by the digest of what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.tables import Deployment, Model, Replica, Revision

_DIGEST_DIGITS = 20


def revision_id(deployment_id: str, model_digest: str, engine: str, options: dict[str, Any]) -> str:
    """E.g. `rev-5f1d...`, 24 characters; the same content of one deployment has the same id.

    It names a job queue, and the demand in a queue must be one deployment's: else two that serve
    the same model would each start replicas for the other's requests.
    """
    content = json.dumps(
        [deployment_id, model_digest, engine, options],
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return "rev-" + hashlib.sha256(content.encode()).hexdigest()[:_DIGEST_DIGITS]


async def find_or_add(
    session: AsyncSession,
    deployment_id: str,
    model: Model,
    engine: str,
    options: dict[str, Any],
    now: float,
) -> Revision:
    """The deployment's revision of this content."""
    wanted = revision_id(deployment_id, model.digest, engine, options)
    found = await session.get(Revision, wanted)
    if found is not None:
        return found
    revision = Revision(
        id=wanted,
        model_id=model.id,
        model_digest=model.digest,
        engine=engine,
        options=options,
        created_at=now,
    )
    session.add(revision)
    await session.flush()
    return revision


async def deployment_names(session: AsyncSession) -> dict[str, str | None]:
    """Every revision, oldest first, and the deployment that wants it or once ran it; None where
    it was replaced before it had a replica."""
    rows = await session.scalars(select(Revision.id).order_by(Revision.created_at, Revision.id))
    names: dict[str, str | None] = dict.fromkeys(rows)
    ran = select(Replica.revision_id, Deployment.name).join(
        Deployment, Deployment.id == Replica.deployment_id
    )
    wanted = select(Deployment.revision_id, Deployment.name)
    for statement in (ran.distinct(), wanted):
        names |= {row[0]: row[1] for row in await session.execute(statement)}
    return names


async def by_id(session: AsyncSession, revision_ids: Collection[str]) -> dict[str, Revision]:
    """The rows of these ids."""
    if not revision_ids:
        return {}
    found = await session.scalars(select(Revision).where(Revision.id.in_(revision_ids)))
    return {revision.id: revision for revision in found}

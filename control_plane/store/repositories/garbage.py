"""What in the store of models is in use.

An import and a collection of garbage may run at once. The import reserves the digest in its row and
*then* looks whether a collection is at work, and waits until none is; the collection is marked as
running and *then* looks, before each deletion, whether the digest is reserved. Both marks are
committed before the other is read, so at least one of the two sees the other.
"""

from __future__ import annotations

from sqlalchemy import select, union
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from control_plane.store.repositories.models import IMPORTING, READY
from control_plane.store.tables import Deployment, Model, Replica, Revision, Rollout
from infra.states import DeploymentState, ReplicaState, is_final

_ENDED_REPLICA = tuple(state.value for state in ReplicaState if is_final(state))


async def digests_in_use(session: AsyncSession) -> set[str]:
    """Of models that are there or being imported, of those that others are being packed from, and
    of revisions that a live deployment wants, a live replica runs or an open rollout may go back
    to."""
    packed = aliased(Model)
    statement = union(
        select(Model.digest).where(Model.state.in_((IMPORTING, READY))),
        select(Model.digest)
        .join(packed, packed.packed_from == Model.id)
        .where(packed.state == IMPORTING),
        select(Revision.model_digest)
        .join(Deployment, Deployment.revision_id == Revision.id)
        .where(Deployment.state != DeploymentState.DELETED.value),
        select(Revision.model_digest)
        .join(Replica, Replica.revision_id == Revision.id)
        .where(Replica.state.not_in(_ENDED_REPLICA)),
        select(Revision.model_digest)
        .join(Rollout, Rollout.from_revision_id == Revision.id)
        .where(Rollout.ended_at.is_(None)),
    )
    return set(await session.scalars(statement)) - {""}

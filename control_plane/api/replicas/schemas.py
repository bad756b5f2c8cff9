from __future__ import annotations

from pydantic import BaseModel

from control_plane.store.repositories.listings import NamedReplica
from infra.states import ReplicaState


class ReplicaShown(BaseModel):
    id: str
    deployment_id: str
    deployment: str
    """Its name."""
    revision_id: str
    instance_id: str | None
    state: ReplicaState
    reason: str
    created_at: float
    updated_at: float
    ready_at: float | None
    ended_at: float | None


class LogLines(BaseModel):
    lines: list[str]
    next: str
    """For `after` of the next request."""


def show_replica(named: NamedReplica) -> ReplicaShown:
    replica = named.replica
    return ReplicaShown(
        id=replica.id,
        deployment_id=replica.deployment_id,
        deployment=named.deployment_name,
        revision_id=replica.revision_id,
        instance_id=replica.instance_id,
        state=ReplicaState(replica.state),
        reason=replica.reason,
        created_at=replica.created_at,
        updated_at=replica.updated_at,
        ready_at=replica.ready_at,
        ended_at=replica.ended_at,
    )

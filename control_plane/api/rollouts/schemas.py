from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from control_plane.store.tables import Rollout
from infra.states import ReplicaState, RolloutState

Standing = Mapping[str, Mapping[str, int]]
"""Replicas of a deployment that have not ended, by revision and state."""


class RolloutShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    deployment_id: str
    from_revision_id: str
    to_revision_id: str
    from_spec: dict[str, Any]
    """What the specification said of the old revision: its model and engine."""
    state: RolloutState
    step: int
    """From 0."""
    percent: int
    """Of the traffic, to the new revision; replace goes by ready replicas instead. After a way back
    it is 0 when the old revision has its replicas again, or none of the new one is left."""
    from_replicas: dict[str, int] = {}
    """Of the old revision, by state; what has ended is left out."""
    to_replicas: dict[str, int] = {}
    """The same of the new one."""
    looks: int
    """How often the requests of this step were tested."""
    promoted: bool
    reason: str
    created_at: float
    state_at: float
    """When the present state began."""
    updated_at: float
    ended_at: float | None


def show_rollout(rollout: Rollout, standing: Standing) -> RolloutShown:
    shown = RolloutShown.model_validate(rollout)
    shown.from_replicas = dict(standing.get(rollout.from_revision_id, {}))
    shown.to_replicas = dict(standing.get(rollout.to_revision_id, {}))
    went_back = shown.ended_at is not None and shown.state is not RolloutState.FINISHED
    if went_back and not shown.to_replicas.get(ReplicaState.READY.value):
        shown.percent = 0  # its way back ends, too, when all that served on are lost
    return shown

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from control_plane.store.tables import Rollout
from infra.states import RolloutState


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
    """Of the traffic, to the new revision; replace goes by ready replicas instead."""
    looks: int
    """How often the requests of this step were tested."""
    promoted: bool
    reason: str
    created_at: float
    state_at: float
    """When the present state began."""
    updated_at: float
    ended_at: float | None


def show_rollout(rollout: Rollout) -> RolloutShown:
    return RolloutShown.model_validate(rollout)

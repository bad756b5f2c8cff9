from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from control_plane.store.tables import Instance
from infra.states import InstanceState


class InstanceShown(BaseModel):
    """Without the join token, of course, and without the lock."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    cloud: str
    cloud_id: str
    instance_type: str
    zone: str
    market: str
    usd_per_hour: float
    state: InstanceState
    reason: str
    capabilities: dict[str, Any]
    created_at: float
    updated_at: float
    joined_at: float | None
    ended_at: float | None


def show_instance(instance: Instance) -> InstanceShown:
    return InstanceShown.model_validate(instance)

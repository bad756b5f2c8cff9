from __future__ import annotations

from pydantic import BaseModel

from infra.states import DeploymentState


class DeploymentStatus(BaseModel):
    name: str
    model: str
    state: DeploymentState
    reason: str
    engine: str
    generation: int
    target_replicas: int
    min_replicas: int
    max_replicas: int
    replicas: dict[str, int]
    """State -> count, without those that have ended."""


class Standbys(BaseModel):
    """Engine processes that wait with their imports done, as agents say."""

    count: int
    memory_bytes: int


class Status(BaseModel):
    deployments: list[DeploymentStatus]
    instances: dict[str, int]
    models: dict[str, int]
    standbys: Standbys | None
    """Null: agents cannot be heard now."""
    sleeping_memory_bytes: int
    """Host memory that sleeping replicas keep, as far as agents are heard."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.store.repositories.listings import Deployed
from control_plane.store.tables import Decision
from infra.states import DeploymentState


class RevisionShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    model_id: str
    model_digest: str
    engine: str
    options: dict[str, Any]
    created_at: float


class DeploymentShown(BaseModel):
    id: str
    name: str
    model: str
    generation: int
    state: DeploymentState
    reason: str
    target_replicas: int
    revision: RevisionShown
    spec: DeploymentSpec
    created_at: float
    updated_at: float


class Applied(BaseModel):
    deployment: DeploymentShown
    changed: bool
    notes: list[str]
    """What the spec says that has no effect here, and why."""


class DecisionShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    deployment_id: str
    kind: str
    reason: str
    formula: str
    inputs: dict[str, Any]
    outcome: dict[str, Any]
    created_at: float


def show_deployment(deployed: Deployed) -> DeploymentShown:
    deployment, revision = deployed
    return DeploymentShown(
        id=deployment.id,
        name=deployment.name,
        model=deployment.spec["model"],
        generation=deployment.generation,
        state=DeploymentState(deployment.state),
        reason=deployment.reason,
        target_replicas=deployment.target_replicas,
        revision=RevisionShown.model_validate(revision),
        spec=DeploymentSpec.model_validate(deployment.spec),
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
    )


def show_decision(decision: Decision) -> DecisionShown:
    return DecisionShown.model_validate(decision)

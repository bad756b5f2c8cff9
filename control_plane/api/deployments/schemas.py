from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, ConfigDict

from control_plane.api.deployments.preview import Preview
from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.store.repositories.listings import Deployed
from control_plane.store.tables import Decision, Deployment, Start
from infra.states import DeploymentState


class RevisionShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    model_id: str
    model_digest: str
    engine: str
    options: dict[str, Any]
    created_at: float


class OverrideShown(BaseModel):
    replicas: int
    until: float
    """Epoch seconds."""


class DeploymentShown(BaseModel):
    id: str
    name: str
    model: str
    generation: int
    state: DeploymentState
    reason: str
    target_replicas: int
    override: OverrideShown | None
    """What its owner has ordered instead of the autoscaler, while that holds."""
    revision: RevisionShown
    spec: DeploymentSpec
    created_at: float
    updated_at: float


class Applied(BaseModel):
    deployment: DeploymentShown
    changed: bool
    notes: list[str]
    """What the spec says that has no effect here, and why."""
    preview: Preview | None = None
    """With a dry run alone: what it would run on, and what that costs."""


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


class ReasonShown(BaseModel):
    """What follows now from what the controller sees, whether it changes anything or not."""

    target_replicas: int
    reason: str
    formula: str
    inputs: dict[str, Any]


class ReasonAnswer(BaseModel):
    now: ReasonShown | None
    """None: no controller has answered."""


class StartShown(BaseModel):
    """One start of a replica, or one of its wakes."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    replica_id: str
    wakes: int
    """0: the start from nothing."""
    revision_id: str
    instance_id: str
    instance_type: str
    zone: str
    tier: str
    """The furthest place that bytes of the model came from: memory, disk, peer or store."""
    standby: bool
    bytes_by_tier: dict[str, int]
    phases_s: dict[str, float]
    """Seconds of decide, launch, boot, join, fetch, verify, engine, load, warm, first_token."""
    usd: float
    outcome: str
    """Empty while it starts, then ready or failed."""
    reason: str
    created_at: float
    ready_at: float | None


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
        override=_override(deployment),
        revision=RevisionShown.model_validate(revision),
        spec=DeploymentSpec.model_validate(deployment.spec),
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
    )


def _override(deployment: Deployment) -> OverrideShown | None:
    replicas, until = deployment.override_replicas, deployment.override_until
    # For a reader; who decides compares the database's clock.
    if replicas is None or until <= time.time():
        return None
    return OverrideShown(replicas=replicas, until=until)


def show_decision(decision: Decision) -> DecisionShown:
    return DecisionShown.model_validate(decision)


def show_start(start: Start) -> StartShown:
    return StartShown.model_validate(start)

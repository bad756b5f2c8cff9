"""What an owner orders for a while, instead of what the autoscaler says."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from control_plane.api.deployments import service
from control_plane.api.deployments.schemas import DeploymentShown, show_deployment
from control_plane.api.problem import Problem, invalid_field
from control_plane.api.strict import StrictBody
from control_plane.api.transaction import Change, CurrentChange
from control_plane.store.clock import read_clock
from control_plane.store.leases import break_lease
from control_plane.store.repositories.listings import Deployed
from infra.states import DeploymentState

router = APIRouter(prefix="/deployments/{name}/override", tags=["deployments"])

LONGEST_S = 30 * 86_400


class Override(StrictBody):
    replicas: Annotated[int, Field(ge=0)]
    """Exactly so many, at most `scaling.max_replicas`; a budget that is spent still holds them."""
    seconds: Annotated[float, Field(gt=0, le=LONGEST_S)]
    """From now on; then the autoscaler decides again."""


@router.put("")
async def override_scaling(name: str, body: Override, change: CurrentChange) -> DeploymentShown:
    """In the place of what was ordered before. A new deployment of the name keeps it."""
    found = await _locked(change, name)
    deployment = found.deployment
    most = int(deployment.spec["scaling"]["max_replicas"])
    if body.replicas > most:
        message = f"{body.replicas} is above scaling.max_replicas ({most}): raise that first"
        raise invalid_field("replicas", message)
    deployment.override_replicas = body.replicas
    deployment.override_until = await read_clock(change.session) + body.seconds
    break_lease(deployment)
    await change.record(
        "deployment.override", deployment.id, replicas=body.replicas, seconds=body.seconds
    )
    return show_deployment(found)


@router.delete("")
async def end_override(name: str, change: CurrentChange) -> DeploymentShown:
    """The autoscaler decides again; where nothing was ordered, it does already."""
    found = await _locked(change, name)
    deployment = found.deployment
    if deployment.override_replicas is not None:
        deployment.override_replicas, deployment.override_until = None, 0.0
        break_lease(deployment)
        await change.record("deployment.end_override", deployment.id)
    return show_deployment(found)


async def _locked(change: Change, name: str) -> Deployed:
    found = await service.locked(change, name)
    if found.deployment.state == DeploymentState.DELETING:
        raise Problem(409, "deleting", f"deployment '{name}' is being deleted")
    return found

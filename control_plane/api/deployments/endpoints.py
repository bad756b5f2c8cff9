from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from control_plane.api.context import CurrentContext
from control_plane.api.deployments import service
from control_plane.api.deployments.preview import preview
from control_plane.api.deployments.schemas import (
    Applied,
    DecisionShown,
    DeploymentShown,
    ReasonAnswer,
    ReasonShown,
    StartShown,
    show_decision,
    show_deployment,
    show_start,
)
from control_plane.api.deployments.spec import DeploymentSpec, Name, NamedByPath
from control_plane.api.lists import CurrentPage, ListOf, show_list
from control_plane.api.problem import invalid_field
from control_plane.api.replicas.schemas import ReplicaShown, show_replica
from control_plane.api.transaction import CurrentChange, Reading
from control_plane.store.repositories import deployments, listings
from infra import reasons

_REASON_LIMIT_S = 5.0

router = APIRouter(prefix="/deployments", tags=["deployments"])


@router.post("", status_code=201)
async def create_deployment(spec: DeploymentSpec, change: CurrentChange) -> Applied:
    return _applied(await service.create(change, spec))


@router.get("")
async def list_deployments(session: Reading, page: CurrentPage) -> ListOf[DeploymentShown]:
    return show_list(await listings.deployments(session, page), show_deployment)


@router.get("/{name}")
async def get_deployment(name: str, session: Reading) -> DeploymentShown:
    return show_deployment(await service.find(session, name))


@router.put("/{name}", responses={201: {"model": Applied, "description": "It is new."}})
async def apply_deployment(
    name: Annotated[Name, Path()],
    body: NamedByPath,
    change: CurrentChange,
    response: Response,
    dry_run: Annotated[bool, Query(description="Answer the same and write nothing.")] = False,
    again: Annotated[bool, Query(description="Try a revision that was rolled back.")] = False,
) -> Applied:
    if body.name not in (None, name):
        raise invalid_field("name", f"the body says '{body.name}', the path '{name}'")
    spec = DeploymentSpec.model_validate({**body.model_dump(exclude_unset=True), "name": name})
    before = await deployments.find(change.session, name) if dry_run else None
    left = before.revision.id if before is not None else None
    outcome = await service.apply(change, spec, again)
    applied = _applied(outcome)
    if dry_run:
        revision = outcome.deployed.revision
        replaces = left not in (None, revision.id)
        applied.preview = await preview(change.session, spec, revision, replaces, change.settings)
        await change.discard()
    else:
        response.status_code = 201 if outcome.created else 200
    return applied


@router.delete("/{name}", status_code=202)
async def delete_deployment(name: str, change: CurrentChange) -> DeploymentShown:
    return show_deployment(await service.delete(change, name))


@router.get("/{name}/decisions")
async def list_decisions(name: str, session: Reading, page: CurrentPage) -> ListOf[DecisionShown]:
    found = await service.find(session, name)
    return show_list(await listings.decisions(session, found.deployment.id, page), show_decision)


@router.get("/{name}/reason")
async def get_reason(name: str, context: CurrentContext) -> ReasonAnswer:
    """Why it has as many replicas as it has, also where nothing was decided for hours: asked of the
    controller, which answers from its next pass."""
    async with context.database.snapshot() as session:
        found = await service.find(session, name)
    told = await reasons.ask(context.jobs, found.deployment.id, _REASON_LIMIT_S)
    return ReasonAnswer(now=None if told is None else ReasonShown.model_validate(told))


@router.get("/{name}/cold-starts")
async def list_cold_starts(name: str, session: Reading, page: CurrentPage) -> ListOf[StartShown]:
    """The ledger: how long each start took, phase by phase, and what it cost."""
    found = await service.find(session, name)
    return show_list(await listings.starts(session, found.deployment.id, page), show_start)


@router.get("/{name}/replicas")
async def list_replicas_of_deployment(
    name: str, session: Reading, page: CurrentPage, ended: bool = False
) -> ListOf[ReplicaShown]:
    found = await service.find(session, name)
    listing = await listings.replicas(session, page, found.deployment.id, ended)
    return show_list(listing, show_replica)


def _applied(outcome: service.Outcome) -> Applied:
    return Applied(
        deployment=show_deployment(outcome.deployed), changed=outcome.changed, notes=outcome.notes
    )

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from control_plane.api.context import CurrentContext
from control_plane.api.deployments import service as deployments
from control_plane.api.lists import CurrentPage, ListOf, show_list
from control_plane.api.replicas import service
from control_plane.api.replicas.schemas import LogLines, ReplicaShown, show_replica
from control_plane.api.transaction import Reading
from control_plane.store.repositories import listings

router = APIRouter(prefix="/replicas", tags=["replicas"])


@router.get("")
async def list_replicas(
    session: Reading, page: CurrentPage, deployment: str | None = None, ended: bool = False
) -> ListOf[ReplicaShown]:
    deployment_id = None
    if deployment is not None:
        deployment_id = (await deployments.find(session, deployment)).deployment.id
    return show_list(await listings.replicas(session, page, deployment_id, ended), show_replica)


@router.get("/{replica_id}")
async def get_replica(replica_id: str, session: Reading) -> ReplicaShown:
    return show_replica(await service.find(session, replica_id))


@router.get("/{replica_id}/logs")
async def get_logs(
    replica_id: str,
    context: CurrentContext,
    after: Annotated[str, Query(pattern=r"^[0-9]{1,19}(-[0-9]{1,19})?$")] = "0",
) -> LogLines:
    return await service.read_logs(context, replica_id, after)

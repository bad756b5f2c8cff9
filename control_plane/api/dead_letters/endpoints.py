from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from control_plane.api.access import Admin
from control_plane.api.context import CurrentContext
from control_plane.api.dead_letters import service
from control_plane.api.dead_letters.schemas import DeadLetters, Retried

router = APIRouter(prefix="/dead-letters", tags=["dead letters"])


@router.get("")
async def list_dead_letters(
    context: CurrentContext, deployment: Annotated[str | None, Query(max_length=256)] = None
) -> DeadLetters:
    return await service.find_all(context, deployment)


@router.post("/{job_id}/retry", status_code=202)
async def retry_dead_letter(job_id: str, context: CurrentContext, principal: Admin) -> Retried:
    """Begin the request of a durable job again, from what was delivered."""
    return await service.begin_again(context, principal.key_id, job_id)

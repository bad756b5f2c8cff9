from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.context import CurrentContext
from control_plane.api.status import service
from control_plane.api.status.schemas import Status
from control_plane.api.transaction import Reading

router = APIRouter(prefix="/status", tags=["status"])


@router.get("")
async def get_status(session: Reading, context: CurrentContext) -> Status:
    return await service.summarise(session, context.jobs)

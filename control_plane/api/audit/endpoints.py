from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.audit import service
from control_plane.api.audit.schemas import Audit
from control_plane.api.context import CurrentContext

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("")
async def get_audit(context: CurrentContext) -> Audit:
    return await service.audit(context)

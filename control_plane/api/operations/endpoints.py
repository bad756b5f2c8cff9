from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.operations import service
from control_plane.api.operations.schemas import OperationShown, show_operation
from control_plane.api.transaction import Reading

router = APIRouter(prefix="/operations", tags=["operations"])


@router.get("/{operation_id}")
async def get_operation(operation_id: str, session: Reading) -> OperationShown:
    return show_operation(await service.find(session, operation_id))

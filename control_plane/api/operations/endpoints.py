from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.lists import CurrentPage, ListOf, show_list
from control_plane.api.operations import service
from control_plane.api.operations.schemas import OperationShown, show_operation
from control_plane.api.transaction import Reading
from control_plane.store.repositories import listings

router = APIRouter(prefix="/operations", tags=["operations"])


@router.get("")
async def list_operations(
    session: Reading, page: CurrentPage, ended: bool = False
) -> ListOf[OperationShown]:
    return show_list(await listings.operations(session, page, ended), show_operation)


@router.get("/{operation_id}")
async def get_operation(operation_id: str, session: Reading) -> OperationShown:
    return show_operation(await service.find(session, operation_id))

from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.lists import CurrentPage, ListOf
from control_plane.api.machines import service
from control_plane.api.machines.schemas import (
    MachineShown,
    MachineWanted,
    NewMachine,
    show_machine,
)
from control_plane.api.transaction import CurrentChange, Reading
from control_plane.store.repositories import listings, machines

router = APIRouter(prefix="/machines", tags=["machines"])


@router.post("", status_code=201)
async def invite_machine(wanted: MachineWanted, change: CurrentChange) -> NewMachine:
    """A one-time token with which one machine may join."""
    machine, token = await service.invite(change, wanted.name or "")
    return NewMachine(**show_machine(machine, None).model_dump(), token=token)


@router.get("")
async def list_machines(session: Reading, page: CurrentPage) -> ListOf[MachineShown]:
    found = await listings.machines(session, page)
    instances = await machines.newest_instances(session, [each.id for each in found.rows])
    shown = [show_machine(each, instances.get(each.id)) for each in found.rows]
    return ListOf(data=shown, next_cursor=found.next_cursor)


@router.delete("/{machine_id}")
async def remove_machine(machine_id: str, change: CurrentChange) -> MachineShown:
    """It drains what it runs, leaves, and may not come back without a new token."""
    return show_machine(*await service.remove(change, machine_id))

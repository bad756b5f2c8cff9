from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from control_plane.api.instances.schemas import InstanceShown, show_instance
from control_plane.api.strict import StrictBody
from control_plane.store.tables import Instance, Machine
from infra.names import NAME_PATTERN


class MachineWanted(StrictBody):
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Null: what the machine calls itself."""


class MachineShown(BaseModel):
    id: str
    name: str
    """Empty until it joins, where nobody chose one."""
    created_at: float
    joins_until: float | None
    """How long its token is good; null once it is in."""
    instance: InstanceShown | None
    """What it is, or was when it was last here; null before it joined."""


class NewMachine(MachineShown):
    token: str
    """Good once; shown this once, only its hash is kept."""


def show_machine(machine: Machine, instance: Instance | None) -> MachineShown:
    return MachineShown(
        id=machine.id,
        name=machine.name,
        created_at=machine.created_at,
        joins_until=machine.token_expires_at if machine.credential_hash is None else None,
        instance=show_instance(instance) if instance is not None else None,
    )

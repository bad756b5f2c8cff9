"""Duties: rows that are there to be leased."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.insertion import insert_unless_there
from control_plane.store.tables import Duty

PLACEMENT = "placement"
NOTICES = "notices"
LEDGER = "ledger"


async def ensure(session: AsyncSession, duty_id: str) -> None:
    """See to it that the row is there."""
    await insert_unless_there(session, Duty, Duty.id, id=duty_id)

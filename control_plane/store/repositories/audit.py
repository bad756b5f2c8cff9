"""Audit rows: who changed what, written in the transaction of the change itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.tables import AuditEvent


async def record(
    session: AsyncSession, key_id: str, action: str, subject_id: str, detail: dict[str, Any]
) -> None:
    session.add(
        AuditEvent(
            id=new_id(Prefix.AUDIT_EVENT),
            key_id=key_id,
            action=action,
            subject_id=subject_id,
            detail=detail,
            created_at=await read_clock(session),
        )
    )

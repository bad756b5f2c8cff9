"""Decision rows: why something was done, for `tamer explain`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.tables import Decision

SCALE = "scale"


async def add(
    session: AsyncSession,
    deployment_id: str,
    kind: str,
    reason: str,
    formula: str,
    inputs: dict[str, Any],
    outcome: dict[str, Any],
) -> Decision:
    decision = Decision(
        id=new_id(Prefix.DECISION),
        deployment_id=deployment_id,
        kind=kind,
        reason=reason,
        formula=formula,
        inputs=inputs,
        outcome=outcome,
        created_at=await read_clock(session),
    )
    session.add(decision)
    return decision


async def newest(session: AsyncSession, deployment_id: str, kind: str) -> Decision | None:
    found = await session.scalars(
        select(Decision)
        .where(Decision.deployment_id == deployment_id, Decision.kind == kind)
        # Not by id alone: ids come from the clocks of many machines.
        .order_by(Decision.created_at.desc(), Decision.id.desc())
        .limit(1)
    )
    return found.one_or_none()

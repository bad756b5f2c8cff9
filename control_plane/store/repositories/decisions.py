"""Decision rows: why something was done, for `tamer explain`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.tables import Decision, Deployment

SCALE = "scale"
PLACE = "place"
PROVISION = "provision"
BUDGET = "budget"
ROLLOUT = "rollout"


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


async def newest_of(
    session: AsyncSession, deployment_ids: Sequence[str], kind: str
) -> dict[str, Decision]:
    """The newest of a kind, by deployment; one that has none is missing."""
    of_kind = aliased(Decision)
    newest = (
        select(of_kind.id)
        .where(of_kind.deployment_id == Deployment.id, of_kind.kind == kind)
        # Not by id alone: ids come from the clocks of many machines.
        .order_by(of_kind.created_at.desc(), of_kind.id.desc())
        .limit(1)
        .correlate(Deployment)
        .scalar_subquery()
    )
    ids = select(newest).select_from(Deployment).where(Deployment.id.in_(deployment_ids))
    found = await session.scalars(select(Decision).where(Decision.id.in_(ids)))
    return {decision.deployment_id: decision for decision in found}


async def newest_for_other_reasons(
    session: AsyncSession, deployment_id: str, kind: str, reasons: Collection[str]
) -> Decision | None:
    """The newest of a kind that was decided for none of these reasons."""
    found = await session.scalars(
        select(Decision)
        .where(
            Decision.deployment_id == deployment_id,
            Decision.kind == kind,
            Decision.reason.not_in(reasons),
        )
        .order_by(Decision.created_at.desc(), Decision.id.desc())
        .limit(1)
    )
    return found.first()

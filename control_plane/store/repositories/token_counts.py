"""Tokens that were used, by revision, tenant and hour; as Redis counted them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.report import Tokens
from control_plane.store.ledger_tables import TokenCount
from control_plane.store.repositories.replicas import LIVE
from control_plane.store.tables import Replica
from control_plane.store.upsert import upsert_rising
from infra.queue.usage import Usage

_COUNTS = ("prompt_tokens", "output_tokens", "jobs")


async def queues(session: AsyncSession, since: float) -> dict[str, str]:
    """Revision -> deployment, of all replicas that ran at or after a time."""
    found = await session.execute(
        select(Replica.revision_id, Replica.deployment_id)
        .where(or_(Replica.state.in_(LIVE), Replica.ended_at >= since))
        .distinct()
    )
    return {row.revision_id: row.deployment_id for row in found}


async def write(
    session: AsyncSession, used: Mapping[str, Iterable[Usage]], deployments: Mapping[str, str]
) -> None:
    """What the queue of each revision has counted; counts never fall, so that whoever writes an
    older one changes nothing."""
    rows: list[dict[str, Any]] = [
        {
            "revision_id": revision_id,
            "tenant": each.tenant,
            "hour": each.hour,
            "epoch": each.epoch,
            "deployment_id": deployments[revision_id],
            "prompt_tokens": each.prompt_tokens,
            "output_tokens": each.output_tokens,
            "jobs": each.jobs,
        }
        for revision_id, found in used.items()
        for each in found
    ]
    if rows:
        await upsert_rising(session, TokenCount, rows, _COUNTS)


async def by_hour(
    session: AsyncSession,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None = None,
) -> list[Tokens]:
    """Of every tenant and deployment, or of these deployments."""
    among: list[ColumnElement[bool]] = [TokenCount.hour >= since, TokenCount.hour < until]
    if deployment_ids is not None:
        among.append(TokenCount.deployment_id.in_(deployment_ids))
    found = await session.execute(
        select(
            TokenCount.deployment_id,
            TokenCount.tenant,
            TokenCount.hour,
            *(func.sum(getattr(TokenCount, name)) for name in _COUNTS),
        )
        .where(*among)
        .group_by(TokenCount.deployment_id, TokenCount.tenant, TokenCount.hour)
        .order_by(TokenCount.hour, TokenCount.deployment_id, TokenCount.tenant)
    )
    return [
        Tokens(id, tenant, hour, int(prompt), int(output), int(jobs))
        for id, tenant, hour, prompt, output, jobs in found
    ]

"""What replicas that have ended cost: for limits on failed starts, whose hours may be unmetered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.billing import HOUR_S, Span, covered_s
from control_plane.store.tables import Instance, Replica


async def usd_by_deployment(session: AsyncSession, replica_ids: Iterable[str]) -> dict[str, float]:
    """What machines cost while any of these replicas was on them, at the price of their launch."""
    ids = list(replica_ids)
    if not ids:
        return {}
    found = await session.execute(
        select(
            Replica.deployment_id,
            Replica.placed_at,
            Replica.ended_at,
            Instance.id,
            Instance.launched_at,
            Instance.usd_per_hour,
        )
        .join(Instance, Instance.id == Replica.instance_id)
        .where(Replica.id.in_(ids))
    )
    stays: defaultdict[tuple[str, str, float], list[Span]] = defaultdict(list)
    for deployment_id, placed_at, ended_at, instance_id, launched_at, usd_per_hour in found:
        if placed_at is not None and ended_at is not None and launched_at is not None:
            span = Span(max(placed_at, launched_at), ended_at)
            stays[deployment_id, instance_id, usd_per_hour].append(span)
    cost: defaultdict[str, float] = defaultdict(float)
    for (deployment_id, _, usd_per_hour), spans in stays.items():
        cost[deployment_id] += covered_s(spans) / HOUR_S * usd_per_hour
    return dict(cost)

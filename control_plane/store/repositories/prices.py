"""What machines of a pool have cost: a row for each time that the price moved."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.billing import Price
from control_plane.store.ledger_tables import PoolPrice
from control_plane.store.tables import Instance
from control_plane.store.upsert import upsert


def pool_id(cloud: str, instance_type: str, zone: str, market: str) -> str:
    """As `Pool.id`."""
    return "/".join((cloud, instance_type, zone, market))


def pool_of(instance: Instance) -> str:
    return pool_id(instance.cloud, instance.instance_type, instance.zone, instance.market)


async def newest(session: AsyncSession, pool_ids: Collection[str]) -> dict[str, Price]:
    """What was written last; a pool that was never seen is missing."""
    latest = (
        select(PoolPrice.pool_id, func.max(PoolPrice.since).label("since"))
        .where(PoolPrice.pool_id.in_(pool_ids))
        .group_by(PoolPrice.pool_id)
        .subquery()
    )
    found = await session.execute(
        select(PoolPrice.pool_id, PoolPrice.since, PoolPrice.usd_per_hour).join(
            latest,
            (PoolPrice.pool_id == latest.c.pool_id) & (PoolPrice.since == latest.c.since),
        )
    )
    return {row.pool_id: Price(row.since, row.usd_per_hour) for row in found}


async def add(session: AsyncSession, moved: Mapping[str, float], since: float) -> None:
    """From `since` on these pools cost so much an hour."""
    rows = [
        {"pool_id": id, "since": since, "usd_per_hour": usd} for id, usd in sorted(moved.items())
    ]
    if rows:
        await upsert(session, PoolPrice, rows)


async def since(
    session: AsyncSession, pool_ids: Collection[str], begin: float
) -> dict[str, list[Price]]:
    """All prices that held at `begin` or later, the oldest first, by pool."""
    held = (
        select(PoolPrice.pool_id, func.max(PoolPrice.since).label("since"))
        .where(PoolPrice.since <= begin, PoolPrice.pool_id.in_(pool_ids))
        .group_by(PoolPrice.pool_id)
        .subquery()
    )
    found = await session.scalars(
        select(PoolPrice)
        .outerjoin(held, held.c.pool_id == PoolPrice.pool_id)
        .where(PoolPrice.pool_id.in_(pool_ids), PoolPrice.since >= func.coalesce(held.c.since, 0.0))
        .order_by(PoolPrice.pool_id, PoolPrice.since)
    )
    prices: dict[str, list[Price]] = {}
    for row in found:
        prices.setdefault(row.pool_id, []).append(Price(row.since, row.usd_per_hour))
    return prices

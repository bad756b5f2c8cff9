"""What launches, refusals and losses teach of a pool, written into its row."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.placement.availability import Availability, decayed_hours
from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances, pools
from control_plane.store.tables import Instance, Pool
from infra.cloud.base import CloudPool, Market
from infra.instance_types import aws_instance_types

Lesson = Callable[[Availability, float], Availability]

REBALANCE_LOSSES = 0.25
"""What a rebalance recommendation counts: some, not most, are followed by an interruption."""


def availability(row: Pool) -> Availability:
    return Availability(
        at_s=row.at,
        launches=row.launches,
        successes=row.successes,
        hours=row.hours,
        losses=row.losses,
        closed_until_s=row.closed_until,
    )


async def learn_launch(
    session: AsyncSession, cloud: str, pools_asked: Iterable[CloudPool], succeeded: bool
) -> None:
    """They gave a machine, or had none."""
    for pool in sorted(set(pools_asked)):
        await _learn(session, cloud, pool, lambda known, now: known.launched(now, succeeded))


async def learn_loss(session: AsyncSession, instance: Instance, losses: float = 1.0) -> None:
    """The cloud takes a spot instance back, or (less than one) may do so."""
    pool = pool_of(instance)
    if pool is not None and pool.market is Market.SPOT:
        await _learn(session, instance.cloud, pool, lambda known, now: known.lost(now, losses))


async def learn_hours(session: AsyncSession, instance: Instance) -> None:
    """A spot instance has ended: from now on its hours are in the row alone."""
    pool = pool_of(instance)
    if pool is not None and pool.market is Market.SPOT and instance.cloud_id:
        ran_s = await read_clock(session) - instance.created_at
        hours = decayed_hours(ran_s)
        await _learn(session, instance.cloud, pool, lambda known, now: known.ran(now, hours))


async def learn_quota(session: AsyncSession, cloud: str, refused: Iterable[CloudPool]) -> None:
    """The account may have no more than what runs now of what these pools count with."""
    for region, family, market in sorted({_counted(pool) for pool in refused}):
        used = 0
        for instance in await instances.live(session):
            pool = pool_of(instance)
            running = instance.cloud == cloud and instance.cloud_id and pool is not None
            if running and pool is not None and _counted(pool) == (region, family, market):
                used += _vcpus(pool)
        await pools.learn_quota(session, cloud, region, family, market, used)


def pool_of(instance: Instance) -> CloudPool | None:
    """None for a machine that is of no market: its owner's."""
    if instance.market not in tuple(Market):
        return None
    return CloudPool(instance.instance_type, instance.zone, Market(instance.market))


def region_of(zone: str) -> str:
    return zone[:-1]


async def _learn(session: AsyncSession, cloud: str, pool: CloudPool, lesson: Lesson) -> None:
    row = await pools.lock(session, cloud, pool.instance_type, pool.zone, pool.market.value)
    now = await read_clock(session)
    known = lesson(availability(row), now)
    row.at, row.launches, row.successes = known.at_s, known.launches, known.successes
    row.hours, row.losses, row.closed_until = known.hours, known.losses, known.closed_until_s


def _counted(pool: CloudPool) -> tuple[str, str, str]:
    region = region_of(pool.zone)
    known = aws_instance_types(region).get(pool.instance_type)
    family = known.quota_family if known is not None else pool.instance_type.split(".")[0]
    return region, family, pool.market.value


def _vcpus(pool: CloudPool) -> int:
    known = aws_instance_types(region_of(pool.zone)).get(pool.instance_type)
    return known.vcpus if known is not None else 0

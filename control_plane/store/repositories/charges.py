"""The ledger of machines: what each cost in each hour, and whose that was.

Rows of an hour are written whole, again and again until the hour and the machine have ended.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.charge import Charge
from control_plane.ledger.report import Cost
from control_plane.store.clock import database_now
from control_plane.store.ledger_tables import ChargeShare, InstanceCharge
from control_plane.store.tables import Instance, Replica
from control_plane.store.upsert import upsert


class InstanceCost(NamedTuple):
    instance_id: str
    instance_type: str
    zone: str
    market: str
    seconds: float
    """Billed."""
    used_micros: int
    idle_micros: int


async def unmetered(session: AsyncSession, after_id: str, limit: int) -> Sequence[Instance]:
    """The next machines by id that may still owe something."""
    found = await session.scalars(
        select(Instance)
        .where(
            Instance.launched_at.is_not(None),
            Instance.metered_at.is_(None),
            Instance.id > after_id,
        )
        .order_by(Instance.id)
        .limit(limit)
    )
    return found.all()


async def newest_hours(session: AsyncSession, instance_ids: Sequence[str]) -> dict[str, int]:
    """The last hour that was written of each; one without a charge is missing."""
    found = await session.execute(
        select(InstanceCharge.instance_id, func.max(InstanceCharge.hour))
        .where(InstanceCharge.instance_id.in_(instance_ids))
        .group_by(InstanceCharge.instance_id)
    )
    return {row.instance_id: int(row[1]) for row in found}


async def replicas_since(
    session: AsyncSession, instance_ids: Sequence[str], since: float
) -> Sequence[Replica]:
    """Those that were on one of these machines at or after a time."""
    found = await session.scalars(
        select(Replica).where(
            Replica.instance_id.in_(instance_ids),
            or_(Replica.ended_at.is_(None), Replica.ended_at >= since),
        )
    )
    return found.all()


async def last_on(session: AsyncSession, instance_ids: Sequence[str]) -> Sequence[Replica]:
    """Of each of these machines, the replica that ended last, of those that did."""
    if not instance_ids:
        return ()
    ended = (
        select(Replica.instance_id, func.max(Replica.ended_at).label("ended_at"))
        .where(Replica.instance_id.in_(instance_ids))
        .group_by(Replica.instance_id)
        .subquery()
    )
    found = await session.scalars(
        select(Replica).join(
            ended,
            (Replica.instance_id == ended.c.instance_id) & (Replica.ended_at == ended.c.ended_at),
        )
    )
    return found.all()


async def write(session: AsyncSession, charges: Sequence[Charge]) -> None:
    """In the place of what was written of these hours, and of later ones, before."""
    if not charges:
        return
    first: dict[str, int] = {}
    for each in charges:
        first[each.instance_id] = min(first.get(each.instance_id, each.hour), each.hour)
    for hour in sorted(set(first.values())):
        ids = [id for id, begins in first.items() if begins == hour]
        for table in (ChargeShare, InstanceCharge):
            await session.execute(
                delete(table).where(table.instance_id.in_(ids), table.hour >= hour)
            )
    await upsert(
        session,
        InstanceCharge,
        [
            {
                "instance_id": each.instance_id,
                "hour": each.hour,
                "seconds": each.seconds,
                "machine_micros": each.machine_micros,
                "extra_micros": each.extra_micros,
            }
            for each in charges
        ],
    )
    await upsert(
        session,
        ChargeShare,
        [
            {
                "instance_id": each.instance_id,
                "hour": each.hour,
                "deployment_id": share.deployment_id,
                "slot_seconds": share.slot_seconds,
                "used_micros": share.used_micros,
                "idle_micros": share.idle_micros,
            }
            for each in charges
            for share in each.shares
        ],
    )


async def close(session: AsyncSession, instance_ids: Sequence[str]) -> None:
    """All that they owe is written."""
    if instance_ids:
        await session.execute(
            update(Instance)
            .where(Instance.id.in_(instance_ids))
            .values(metered_at=database_now())
            .execution_options(synchronize_session=False)
        )


async def by_hour(
    session: AsyncSession,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None = None,
) -> list[Cost]:
    """What each deployment, or each of these, cost in each hour."""
    found = await session.execute(
        select(ChargeShare.deployment_id, ChargeShare.hour, *_sums())
        .where(*_within(since, until, deployment_ids))
        .group_by(ChargeShare.deployment_id, ChargeShare.hour)
        .order_by(ChargeShare.hour, ChargeShare.deployment_id)
    )
    return [Cost(id, hour, int(used), int(idle)) for id, hour, used, idle in found]


async def by_instance(
    session: AsyncSession,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None = None,
) -> list[InstanceCost]:
    """What each machine cost, or what these deployments had of it, by id."""
    mine = (
        select(ChargeShare.instance_id, *_sums())
        .where(*_within(since, until, deployment_ids))
        .group_by(ChargeShare.instance_id)
        .subquery()
    )
    billed = (
        select(InstanceCharge.instance_id, func.sum(InstanceCharge.seconds).label("seconds"))
        .where(InstanceCharge.hour >= since, InstanceCharge.hour < until)
        .group_by(InstanceCharge.instance_id)
        .subquery()
    )
    found = await session.execute(
        select(
            Instance.id,
            Instance.instance_type,
            Instance.zone,
            Instance.market,
            billed.c.seconds,
            mine.c.used,
            mine.c.idle,
        )
        .join(mine, mine.c.instance_id == Instance.id)
        .join(billed, billed.c.instance_id == Instance.id)
        .order_by(Instance.id)
    )
    return [_instance_cost(row) for row in found]


async def spent_micros(session: AsyncSession, since: float, until: float) -> dict[str, int]:
    """By deployment, in the hours between; one that has spent nothing is missing."""
    found = await session.execute(
        select(
            ChargeShare.deployment_id,
            func.sum(ChargeShare.used_micros + ChargeShare.idle_micros),
        )
        .where(ChargeShare.hour >= since, ChargeShare.hour < until)
        .group_by(ChargeShare.deployment_id)
    )
    return {id: int(micros) for id, micros in found}


def _sums() -> tuple[ColumnElement[int], ColumnElement[int]]:
    return (
        func.sum(ChargeShare.used_micros).label("used"),
        func.sum(ChargeShare.idle_micros).label("idle"),
    )


def _within(
    since: float, until: float, deployment_ids: Collection[str] | None
) -> tuple[ColumnElement[bool], ...]:
    of_time = (ChargeShare.hour >= since, ChargeShare.hour < until)
    if deployment_ids is None:
        return of_time
    return (*of_time, ChargeShare.deployment_id.in_(deployment_ids))


def _instance_cost(row: Row[Any]) -> InstanceCost:
    return InstanceCost(
        row.id,
        row.instance_type,
        row.zone,
        row.market,
        float(row.seconds),
        int(row.used),
        int(row.idle),
    )

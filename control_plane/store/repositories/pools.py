"""What pools and quotas taught (`control_plane.placement.availability`), kept over restarts.

Times are the database's.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now, read_clock
from control_plane.store.insertion import insert_unless_there
from control_plane.store.tables import Pool, Quota

_FIRST_S = 20.0
_LONGEST_S = 600.0
_FORGOTTEN_S = 300.0
"""Without a refusal; then the next one is the first again."""


async def of_cloud(session: AsyncSession, cloud: str) -> Sequence[Pool]:
    found = await session.scalars(select(Pool).where(Pool.cloud == cloud).order_by(Pool.id))
    return found.all()


async def lock(
    session: AsyncSession, cloud: str, instance_type: str, zone: str, market: str
) -> Pool:
    """The row of a pool, new or old, locked until the end of the transaction."""
    id = "/".join((cloud, instance_type, zone, market))
    await insert_unless_there(
        session,
        Pool,
        Pool.id,
        id=id,
        cloud=cloud,
        instance_type=instance_type,
        zone=zone,
        market=market,
    )
    return (await session.scalars(select(Pool).where(Pool.id == id).with_for_update())).one()


async def learn_quota(
    session: AsyncSession, cloud: str, region: str, family: str, market: str, vcpus: int
) -> None:
    """So many virtual CPUs run, and one machine more was refused."""
    id, now = "/".join((cloud, region, family, market)), await read_clock(session)
    await insert_unless_there(
        session, Quota, Quota.id, id=id, cloud=cloud, region=region, family=family, market=market
    )
    row = (await session.scalars(select(Quota).where(Quota.id == id).with_for_update())).one()
    in_a_row = row.refusals if now < row.until + _FORGOTTEN_S else 0
    row.vcpus, row.refusals = vcpus, in_a_row + 1
    row.until = now + min(_FIRST_S * 2**in_a_row, _LONGEST_S)


async def quotas(session: AsyncSession, cloud: str) -> Sequence[Quota]:
    """Those that hold now."""
    found = await session.scalars(
        select(Quota).where(Quota.cloud == cloud, Quota.until > database_now()).order_by(Quota.id)
    )
    return found.all()

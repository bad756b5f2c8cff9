"""What tenants may spend, and what they and deployments with a budget have spent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.budget import Stage
from control_plane.store.clock import read_clock
from control_plane.store.ledger_tables import Spending, TenantBudget
from control_plane.store.upsert import upsert


def of_deployment(deployment_id: str) -> str:
    """The id of its spending."""
    return f"deployment/{deployment_id}"


def of_tenant(tenant: str) -> str:
    """The id of its spending."""
    return f"tenant/{tenant}"


async def tenants(session: AsyncSession) -> Sequence[TenantBudget]:
    """All that have a budget, by name."""
    return (await session.scalars(select(TenantBudget).order_by(TenantBudget.tenant))).all()


async def set_tenant(
    session: AsyncSession, tenant: str, usd_per_day: float | None, usd_per_month: float | None
) -> TenantBudget:
    """In the place of the budget that it had."""
    values = {"usd_per_day": usd_per_day, "usd_per_month": usd_per_month}
    row = {"tenant": tenant, **values, "updated_at": await read_clock(session)}
    await upsert(session, TenantBudget, [row])
    return await session.get_one(TenantBudget, tenant, populate_existing=True)


async def remove_tenant(session: AsyncSession, tenant: str) -> TenantBudget | None:
    """The budget that it had until now; None where it had none."""
    row = await session.get(TenantBudget, tenant)
    if row is not None:
        await session.delete(row)
        await session.execute(delete(Spending).where(Spending.id == of_tenant(tenant)))
    return row


async def spendings(session: AsyncSession, ids: Iterable[str]) -> dict[str, Spending]:
    """As last summed up; what was never is missing."""
    wanted = list(ids)
    if not wanted:
        return {}
    found = await session.scalars(select(Spending).where(Spending.id.in_(wanted)))
    return {each.id: each for each in found}


async def inherit(session: AsyncSession, former_id: str, deployment_id: str) -> None:
    """A deployment begins with what the one before it of the same name had spent, as last summed
    up: until it is summed up itself it may not spend that again."""
    former = await session.get(Spending, of_deployment(former_id))
    if former is not None:
        columns = {each.name: getattr(former, each.name) for each in Spending.__table__.columns}
        own = {"id": of_deployment(deployment_id), "stage": Stage.OPEN.value}  # nothing was told
        await write_spendings(session, [{**columns, **own}])


async def write_spendings(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Each with all of its columns."""
    if rows:
        await upsert(session, Spending, rows)

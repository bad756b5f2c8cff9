from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.budgets.schemas import BudgetShown, TenantLimits, show_budget
from control_plane.api.problem import not_found
from control_plane.api.transaction import Change
from control_plane.store.clock import read_clock
from control_plane.store.repositories import budgets
from control_plane.store.repositories.budgets import of_tenant


async def every(session: AsyncSession) -> list[BudgetShown]:
    """By tenant."""
    found = await budgets.tenants(session)
    spent = await budgets.spendings(session, (of_tenant(each.tenant) for each in found))
    now = await read_clock(session)
    return [show_budget(each, spent.get(of_tenant(each.tenant)), now) for each in found]


async def put(change: Change, tenant: str, limits: TenantLimits) -> BudgetShown:
    """A budget counts what was spent before it was set, too."""
    budget = await budgets.set_tenant(
        change.session, tenant, limits.usd_per_day, limits.usd_per_month
    )
    said = limits.model_dump()
    await change.record("budget.set", of_tenant(tenant), tenant=tenant, **said)
    change.tell_gateways()
    spent = await budgets.spendings(change.session, [of_tenant(tenant)])
    return show_budget(budget, spent.get(of_tenant(tenant)), await read_clock(change.session))


async def remove(change: Change, tenant: str) -> BudgetShown:
    """Raises Problem: 404, it has none."""
    spent = await budgets.spendings(change.session, [of_tenant(tenant)])
    budget = await budgets.remove_tenant(change.session, tenant)
    if budget is None:
        raise not_found("budget of tenant", tenant, "tamer budget list")
    await change.record("budget.remove", of_tenant(tenant), tenant=tenant)
    change.tell_gateways()
    return show_budget(budget, spent.get(of_tenant(tenant)), await read_clock(change.session))

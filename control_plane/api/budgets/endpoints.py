from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from control_plane.api.budgets import service
from control_plane.api.budgets.schemas import BudgetShown, TenantLimits
from control_plane.api.deployments.spec import Name
from control_plane.api.lists import ListOf
from control_plane.api.transaction import CurrentChange, Reading

router = APIRouter(prefix="/budgets", tags=["costs"])


@router.get("")
async def list_budgets(session: Reading) -> ListOf[BudgetShown]:
    """Of every tenant that has one."""
    return ListOf(data=await service.every(session), next_cursor=None)


@router.put("/{tenant}")
async def set_budget(
    tenant: Annotated[Name, Path()], limits: TenantLimits, change: CurrentChange
) -> BudgetShown:
    """What is left out has no limit."""
    return await service.put(change, tenant, limits)


@router.delete("/{tenant}")
async def remove_budget(tenant: Annotated[Name, Path()], change: CurrentChange) -> BudgetShown:
    return await service.remove(change, tenant)

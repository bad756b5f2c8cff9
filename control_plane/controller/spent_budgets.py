"""Who may ask for nothing now, because a budget is spent: for gateways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.spending import (
    budget_of,
    deployment_verdict,
    refusal,
    tenant_verdict,
    wait_s,
)
from control_plane.ledger.budget import Stage, Verdict
from control_plane.store.ledger_tables import Spending, TenantBudget
from control_plane.store.repositories import budgets
from control_plane.store.tables import Deployment


@dataclass(frozen=True, slots=True)
class SpentBudgets:
    now: float
    """Database time."""
    tenants: Mapping[str, TenantBudget]
    spendings: Mapping[str, Spending]
    """By id."""

    def of_deployment(self, deployment: Deployment) -> dict[str, Any]:
        """`over_budget` and `over_budget_s`, as `wire.Route` has them."""
        row = self.spendings.get(budgets.of_deployment(deployment.id))
        verdict = deployment_verdict(deployment.spec, row, self.now)
        # Held at zero, nothing would ever answer.
        if verdict is None or (verdict.stage is Stage.HELD and deployment.target_replicas):
            return {}
        return self._told(verdict, f"deployment '{deployment.name}'")

    def of_tenant(self, tenant: str) -> dict[str, Any]:
        """The same, as `wire.KeyEntry` has them."""
        budget = self.tenants.get(tenant)
        if budget is None:
            return {}
        row = self.spendings.get(budgets.of_tenant(tenant))
        verdict = tenant_verdict(budget, row, self.now)
        return self._told(verdict, f"tenant '{tenant}'") if verdict is not None else {}

    def _told(self, verdict: Verdict, whose: str) -> dict[str, Any]:
        said = refusal(verdict, whose)
        return {"over_budget": said, "over_budget_s": wait_s(verdict, self.now)}


async def read_spent(
    session: AsyncSession, now: float, deployed: Iterable[Deployment]
) -> SpentBudgets:
    tenants = {each.tenant: each for each in await budgets.tenants(session)}
    limited = [each.id for each in deployed if budget_of(each.spec).limits()]
    ids = [*map(budgets.of_tenant, tenants), *map(budgets.of_deployment, limited)]
    return SpentBudgets(now, tenants, await budgets.spendings(session, ids))

"""Sums up what deployments and tenants with a budget have spent, and tells when that changes what
they may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.deployment_costs import DeploymentCosts
from control_plane.controller.hold import LeaseLost, hold
from control_plane.controller.limits import Limits
from control_plane.controller.namesakes import Namesakes
from control_plane.controller.spending import (
    budget_of,
    deployment_verdict,
    refusal,
    tenant_verdict,
)
from control_plane.controller.tenant_costs import TenantCosts
from control_plane.controller.world import World
from control_plane.ledger.budget import GRACE, Stage, Verdict
from control_plane.store.clock import read_clock
from control_plane.store.ledger_tables import Spending
from control_plane.store.repositories import budgets, decisions, deployments, duties
from control_plane.store.session import Database
from control_plane.store.tables import Duty
from infra.periods import day, month, said
from infra.telemetry import logger

_OUTCOMES = {
    Stage.OPEN: "replicas may be added again",
    Stage.HELD: "no more replicas than there are",
    Stage.CLOSED: "replicas drain, requests are refused",
}
_OUTCOMES_OF_TENANTS = {
    Stage.OPEN: "its requests are taken again",
    Stage.CLOSED: "its requests are refused",
}
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Sum:
    """One row, and what is told of it."""

    row: dict[str, Any]
    verdict: Verdict | None
    before: Stage
    whose: str
    concerns: Sequence[str]
    """Ids of the deployments that are to explain it."""
    of_tenant: bool

    @property
    def stage(self) -> Stage:
        return Stage.OPEN if self.verdict is None else self.verdict.stage


class SpendingBook:
    name = "spending"

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._deployments = DeploymentCosts()
        self._tenants = TenantCosts()
        self._namesakes = Namesakes()

    async def run(self, _world: World | None, /) -> int:
        """Returns how many budgets changed what their owner may do."""
        async with self._database.transaction() as session:
            await duties.ensure(session, duties.LEDGER)
        async with hold(self._database, Duty, duties.LEDGER, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with self._database.snapshot() as session:
                now = await read_clock(session)
                sums = [
                    *await self._of_deployments(session, now),
                    *await self._of_tenants(session, now),
                ]
            changed = [each for each in sums if each.stage is not each.before]
            try:
                async with held.apply() as session:
                    await budgets.write_spendings(session, [each.row for each in sums])
                    for each in changed:
                        await _explain(session, each)
            except LeaseLost:
                return 0
        for each in changed:
            _log.info("budget", of=each.whose, stage=each.stage.value)
        return len(changed)

    async def _of_deployments(self, session: AsyncSession, now: float) -> list[_Sum]:
        live = {each.id: each for each, _ in await deployments.all_live(session)}
        before = await _before(session, map(budgets.of_deployment, live))
        stopped = {id for id, stage in before.items() if stage is not Stage.OPEN}
        # One that has lost its budget is told so, too.
        owners = {
            id: each
            for id, each in live.items()
            if budget_of(each.spec).limits() or budgets.of_deployment(id) in stopped
        }
        if not owners:
            return []
        former = await self._namesakes.of(session, owners)
        groups = {id: (id, *former[id]) for id in owners}
        today, this_month = (
            {id: sum(spent[each] for each in ids) for id, ids in groups.items()}
            for spent in await self._deployments.spent(session, now)
        )
        sums = []
        for id, owner in owners.items():
            row = _row(budgets.of_deployment(id), today[id], this_month[id], now)
            verdict = deployment_verdict(owner.spec, Spending(**row), now)
            whose = f"deployment '{owner.name}'"
            sums.append(_sum(row, verdict, before, whose, [id], of_tenant=False))
        return sums

    async def _of_tenants(self, session: AsyncSession, now: float) -> list[_Sum]:
        owners = {each.tenant: each for each in await budgets.tenants(session)}
        if not owners:
            return []
        spent = await self._tenants.spent(session, owners, now)
        before = await _before(session, map(budgets.of_tenant, owners))
        sums = []
        for name, budget in owners.items():
            own = spent[name]
            row = _row(budgets.of_tenant(name), own.day_micros, own.month_micros, now)
            verdict = tenant_verdict(budget, Spending(**row), now)
            whose, concerns = f"tenant '{name}'", sorted(own.used_today)
            sums.append(_sum(row, verdict, before, whose, concerns, of_tenant=True))
        return sums


async def _before(session: AsyncSession, ids: Iterable[str]) -> dict[str, Stage]:
    """What was told last."""
    found = await budgets.spendings(session, ids)
    return {id: Stage(row.stage) for id, row in found.items()}


def _row(id: str, day_micros: int, month_micros: int, now: float) -> dict[str, Any]:
    return {
        "id": id,
        "day": day(now)[0],
        "day_micros": day_micros,
        "month": month(now)[0],
        "month_micros": month_micros,
        "stage": Stage.OPEN.value,
        "updated_at": now,
    }


def _sum(
    row: dict[str, Any],
    verdict: Verdict | None,
    before: dict[str, Stage],
    whose: str,
    concerns: Sequence[str],
    of_tenant: bool,
) -> _Sum:
    stage = Stage.OPEN if verdict is None else verdict.stage
    told = before.get(row["id"], Stage.OPEN)
    return _Sum({**row, "stage": stage.value}, verdict, told, whose, concerns, of_tenant)


async def _explain(session: AsyncSession, told: _Sum) -> None:
    inputs: dict[str, Any] = {
        "of": told.whose,
        "day_usd": told.row["day_micros"] / 1e6,
        "month_usd": told.row["month_micros"] / 1e6,
    }
    # Of what a tenant's budget is spent on, others ask too: it goes on.
    means = (_OUTCOMES_OF_TENANTS if told.of_tenant else _OUTCOMES)[told.stage]
    outcome = {"stage": told.stage.value, "means": means}
    formula = "what was spent is below every limit that there is"
    if told.verdict is not None:
        formula = told.verdict.said
        if not told.of_tenant:
            formula += f"; at ${told.verdict.limit_usd * GRACE:.2f} nothing runs"
        inputs |= {"limit_usd": told.verdict.limit_usd, "a": told.verdict.period.value}
        outcome |= {
            "until": said(told.verdict.resets_at),
            "because": refusal(told.verdict, told.whose),
        }
    for deployment_id in told.concerns:
        await decisions.add(
            session, deployment_id, decisions.BUDGET, told.stage.value, formula, inputs, outcome
        )

"""What each tenant cost this month and today: hours that are long over are remembered a while."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.billing import HOUR_S
from control_plane.ledger.report import by_tenant
from control_plane.store.repositories import charges, token_counts
from infra.periods import day, month

_SETTLED_S = 2 * HOUR_S
"""So old an hour is written, unless its controller was away: everything is read anew each hour."""
_AT_ONCE_S = 24 * HOUR_S


@dataclass(slots=True)
class TenantSpent:
    day_micros: int = 0
    month_micros: int = 0
    used_today: set[str] = field(default_factory=set)
    """Ids of deployments."""


class TenantCosts:
    def __init__(self) -> None:
        self._read_in_hour = -1
        self._hours: dict[int, Counter[str]] = {}

    async def spent(
        self, session: AsyncSession, tenants: Iterable[str], now: float
    ) -> dict[str, TenantSpent]:
        today, begin = day(now)[0], month(now)[0]
        await self._read(session, begin, now)
        found = {tenant: TenantSpent() for tenant in tenants}
        for hour, costs in self._hours.items():
            for tenant, each in found.items():
                each.month_micros += costs[tenant]
                each.day_micros += costs[tenant] if hour >= today else 0
        for tokens in await token_counts.by_hour(session, today, now):
            if tokens.tenant in found:
                found[tokens.tenant].used_today.add(tokens.deployment_id)
        return found

    async def _read(self, session: AsyncSession, begin: int, now: float) -> None:
        this_hour = int(now // HOUR_S)
        if this_hour != self._read_in_hour:
            self._hours.clear()
            self._read_in_hour = this_hour
        settled = [hour for hour in self._hours if begin <= hour < now - _SETTLED_S]
        self._hours = {hour: self._hours[hour] for hour in settled}
        since = max(settled, default=begin - HOUR_S) + HOUR_S
        while since <= now:
            await self._read_part(session, since, since + _AT_ONCE_S)
            since += _AT_ONCE_S

    async def _read_part(self, session: AsyncSession, since: int, until: int) -> None:
        costs = defaultdict(list)
        for cost in await charges.by_hour(session, since, until):
            costs[cost.hour].append(cost)
        tokens = defaultdict(list)
        for each in await token_counts.by_hour(session, since, until):
            tokens[each.hour].append(each)
        for hour, found in costs.items():
            lines = by_tenant(found, tokens[hour])
            self._hours[hour] = Counter({name: line.total_micros for name, line in lines.items()})

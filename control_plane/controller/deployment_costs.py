"""What deployments cost this month and today: days that are long over are remembered a while."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.billing import HOUR_S
from control_plane.store.repositories import charges
from infra.periods import day, month

_SETTLED_S = 2 * HOUR_S
"""So long after its end a day is written, unless its controller was away: everything is read anew
each hour."""


class DeploymentCosts:
    def __init__(self) -> None:
        self._read_in_hour = -1
        self._days: dict[int, Counter[str]] = {}

    async def spent(self, session: AsyncSession, now: float) -> tuple[Counter[str], Counter[str]]:
        """Millionths of a US dollar by deployment, (today, this month)."""
        this_hour = int(now // HOUR_S)
        if this_hour != self._read_in_hour:
            self._days.clear()
            self._read_in_hour = this_hour
        today, this_month = Counter[str](), Counter[str]()
        begin = month(now)[0]
        while begin <= now:
            end = day(begin)[1]
            today = await self._of_day(session, begin, end)
            if end < now - _SETTLED_S:
                self._days[begin] = today
            this_month.update(today)
            begin = end
        return today, this_month

    async def _of_day(self, session: AsyncSession, begin: int, end: int) -> Counter[str]:
        known = self._days.get(begin)
        return Counter(await charges.spent_micros(session, begin, end)) if known is None else known

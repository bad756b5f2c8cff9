"""Writes down when the price of a machine that runs has moved."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from control_plane.controller.hold import LeaseLost, hold
from control_plane.controller.limits import Limits
from control_plane.controller.offer_watch import OfferWatch
from control_plane.controller.world import World
from control_plane.ledger.billing import Price
from control_plane.store.clock import read_clock
from control_plane.store.repositories import duties, instances, prices
from control_plane.store.session import Database
from control_plane.store.tables import Duty, Instance
from infra.cloud.base import Catalogue, Market

_PATIENCE_S = 2.0
"""No pass waits for it."""


class PriceBook:
    """Spot alone: what is on demand costs what it cost at its launch. While nobody looks, and while
    what is told is no price, the one that was seen last holds."""

    name = "prices"

    def __init__(
        self, database: Database, catalogue: Catalogue, cloud: str, limits: Limits
    ) -> None:
        self._database = database
        self._watch = OfferWatch(catalogue, moment_s=_PATIENCE_S)
        self._cloud = cloud
        self._limits = limits

    async def run(self, _world: World | None, /) -> int:
        """Returns how many prices have moved."""
        async with self._database.snapshot() as session:
            live = await instances.live(session)
        running: defaultdict[str, list[Instance]] = defaultdict(list)
        for each in live:
            if each.cloud == self._cloud and each.market == Market.SPOT.value:
                running[prices.pool_of(each)].append(each)
        offers = await self._watch.newest() if running else None
        if offers is None:
            return 0
        told = {
            prices.pool_id(
                self._cloud, each.pool.instance_type, each.pool.zone, each.pool.market.value
            ): each.usd_per_hour
            for each in offers
            if math.isfinite(each.usd_per_hour) and each.usd_per_hour >= 0
        }
        now_costs = {pool: told[pool] for pool in running.keys() & told.keys()}
        return await self._write(now_costs, running)

    async def _write(
        self, now_costs: Mapping[str, float], running: Mapping[str, Sequence[Instance]]
    ) -> int:
        async with self._database.transaction() as session:
            await duties.ensure(session, duties.LEDGER)
        async with hold(self._database, Duty, duties.LEDGER, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with self._database.snapshot() as session:
                known = await prices.newest(session, now_costs)
            moved = {
                pool: usd
                for pool, usd in now_costs.items()
                if _has_moved(usd, known.get(pool), running[pool])
            }
            if not moved:
                return 0
            try:
                async with held.apply() as session:
                    await prices.add(session, moved, await read_clock(session))
            except LeaseLost:
                return 0
        return len(moved)


def _has_moved(usd_per_hour: float, known: Price | None, running: Sequence[Instance]) -> bool:
    """Since it was written last, or since a machine was launched at another price after that."""
    if known is None or known.usd_per_hour != usd_per_hour:
        return True
    return any(
        each.usd_per_hour != usd_per_hour for each in running if each.created_at > known.since
    )

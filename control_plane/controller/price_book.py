"""Writes down when the price of a machine that runs has moved."""

from __future__ import annotations

import math

from control_plane.controller.hold import LeaseLost, hold
from control_plane.controller.limits import Limits
from control_plane.controller.offer_watch import OfferWatch
from control_plane.controller.world import World
from control_plane.store.clock import read_clock
from control_plane.store.repositories import duties, instances, prices
from control_plane.store.session import Database
from control_plane.store.tables import Duty
from infra.cloud.base import Catalogue, Market


class PriceBook:
    """Spot alone: what is on demand costs what it cost at its launch. While nobody looks, and while
    what is told is no price, the one that was seen last holds."""

    name = "prices"

    def __init__(
        self, database: Database, catalogue: Catalogue, cloud: str, limits: Limits
    ) -> None:
        self._database = database
        self._watch = OfferWatch(catalogue)
        self._cloud = cloud
        self._limits = limits

    async def run(self, _world: World | None, /) -> int:
        """Returns how many prices have moved."""
        async with self._database.snapshot() as session:
            running = {
                prices.pool_of(each)
                for each in await instances.live(session)
                if each.cloud == self._cloud and each.market == Market.SPOT.value
            }
        offers = await self._watch.offers() if running else None
        if offers is None:
            return 0
        told = {
            prices.pool_id(
                self._cloud, each.pool.instance_type, each.pool.zone, each.pool.market.value
            ): each.usd_per_hour
            for each in offers
            if math.isfinite(each.usd_per_hour) and each.usd_per_hour >= 0
        }
        now_costs = {pool: told[pool] for pool in running & told.keys()}
        return await self._write(now_costs)

    async def _write(self, now_costs: dict[str, float]) -> int:
        async with self._database.transaction() as session:
            await duties.ensure(session, duties.LEDGER)
        async with hold(self._database, Duty, duties.LEDGER, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with self._database.snapshot() as session:
                known = await prices.newest(session, now_costs)
            moved = {pool: usd for pool, usd in now_costs.items() if known.get(pool) != usd}
            if not moved:
                return 0
            try:
                async with held.apply() as session:
                    await prices.add(session, moved, await read_clock(session))
            except LeaseLost:
                return 0
        return len(moved)

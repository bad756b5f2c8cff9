"""A cell of machines that cost money."""

from __future__ import annotations

from typing import Any

from control_plane.ledger.report import Cost, Tokens
from control_plane.store.clock import read_clock
from control_plane.store.repositories import charges, token_counts
from control_plane.store.tables import Deployment, Instance, Replica
from infra.cloud.base import Market
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.market_cloud import A, MarketCloud, offer

HOUR_S = 3600.0
ALWAYS = 1000 * 365 * 86_400.0


class Metered(Cell):
    cloud: MarketCloud

    async def ready(self, **budget: float) -> Deployment:
        """A deployment with a replica on a machine of $0.30 an hour."""
        chat = await self.deploy(await self.model(), min_replicas=1)
        await self.until_state(chat, "ready")
        await self.set_budget(chat, **budget)
        return chat

    async def set_budget(self, deployment: Deployment, **budget: float) -> None:
        async with self.database.transaction() as session:
            row = await session.get_one(Deployment, deployment.id)
            row.spec = {**row.spec, "budget": budget}

    async def let_it_have_cost(self, usd: float) -> None:
        """The first minute of its machine, which is owed at once."""
        self.cloud.sold = [offer("g6.xlarge", A, Market.SPOT, usd * 60.0)]
        async with self.database.transaction() as session:
            for each in await self.instances():
                row = await session.get_one(Instance, each.id)
                row.launched_at = await read_clock(session)
                row.usd_per_hour = usd * 60.0

    async def began(self, hours_ago: float) -> None:
        """The machine and its replica."""
        async with self.database.transaction() as session:
            at = await read_clock(session) - hours_ago * HOUR_S
            for machine in await self.instances():
                (await session.get_one(Instance, machine.id)).launched_at = at
            for replica in await self.replicas():
                (await session.get_one(Replica, replica.id)).placed_at = at

    async def costs(self) -> list[Cost]:
        async with self.database.snapshot() as session:
            return await charges.by_hour(session, 0, ALWAYS)

    async def tokens(self) -> list[Tokens]:
        async with self.database.snapshot() as session:
            return await token_counts.by_hour(session, 0, ALWAYS)

    async def route(self) -> Any:
        await self.controller.project()
        found = await self.projections.next(5.0)
        assert found is not None
        return found.routes[0]

"""What machines cost, and what a budget does: real store, real queue, a cloud with prices."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from control_plane.ledger.report import Cost, Tokens
from control_plane.store.clock import read_clock
from control_plane.store.repositories import budgets, charges, prices, token_counts
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Instance, Replica
from infra.cloud.base import Market
from infra.queue.queue import JobQueue
from infra.settings import Settings
from infra.states import JobState
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.market_cloud import A, MarketCloud, offer

POOL = f"aws/g6.xlarge/{A}/spot"
_HOUR_S = 3600.0
_ALWAYS = 10 * 365 * 86_400.0


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
            at = await read_clock(session) - hours_ago * _HOUR_S
            for machine in await self.instances():
                (await session.get_one(Instance, machine.id)).launched_at = at
            for replica in await self.replicas():
                (await session.get_one(Replica, replica.id)).placed_at = at

    async def costs(self) -> list[Cost]:
        async with self.database.snapshot() as session:
            return await charges.by_hour(session, 0, _ALWAYS * 100)

    async def tokens(self) -> list[Tokens]:
        async with self.database.snapshot() as session:
            return await token_counts.by_hour(session, 0, _ALWAYS * 100)

    async def route(self) -> Any:
        await self.controller.project()
        found = await self.projections.next(5.0)
        assert found is not None
        return found.routes[0]


@pytest.fixture
async def metered(store_settings: Settings, database: Database, valkey: Redis) -> Metered:
    changes = {"cloud": "aws", "drain_limit_s": 0.5, "crash_wait_s": 0.01}
    settings = store_settings.model_copy(update=changes)
    return Metered(settings, database, valkey, MarketCloud())


async def test_hours_are_charged_to_whom_they_served_and_metering_again_changes_nothing(
    metered: Metered,
) -> None:
    chat = await metered.ready()
    await metered.began(hours_ago=3.0)
    await metered.controller.meter()
    first = await metered.costs()
    assert {each.deployment_id for each in first} == {chat.id}
    assert sum(each.used_micros + each.idle_micros for each in first) == pytest.approx(
        0.30 * 3 * 1e6, rel=0.01
    )
    await metered.new_controller().meter()
    again = await metered.costs()
    assert again[:-1] == first[:-1], "hours that are over"
    assert [each.hour for each in again][: len(first)] == [each.hour for each in first]


async def test_a_machine_that_has_ended_is_charged_to_its_end_whenever_that_is_looked_at(
    metered: Metered,
) -> None:
    chat = await metered.ready()
    await metered.began(hours_ago=5.0)
    async with metered.database.transaction() as session:
        now = await read_clock(session)
        for machine in await metered.instances():
            row = await session.get_one(Instance, machine.id)
            row.state, row.ended_at = "terminated", now - 4 * _HOUR_S
        for replica in await metered.replicas():
            ended = await session.get_one(Replica, replica.id)
            ended.state, ended.ended_at = "terminated", now - 4 * _HOUR_S
    for _ in range(2):
        await metered.new_controller().meter()
        assert sum(each.used_micros for each in await metered.costs()) == pytest.approx(
            0.30e6, rel=0.001
        )
    assert {each.deployment_id for each in await metered.costs()} == {chat.id}


async def test_a_spot_price_that_moves_counts_from_then_on(metered: Metered) -> None:
    await metered.ready()
    await metered.began(hours_ago=1.0)
    metered.cloud.sold = [offer("g6.xlarge", A, Market.SPOT, 0.60)]
    await metered.new_controller().meter()
    async with metered.database.snapshot() as session:
        assert await prices.newest(session, [POOL]) == {POOL: 0.60}
    spent = sum(each.used_micros for each in await metered.costs())
    assert spent == pytest.approx(0.30e6, rel=0.02), "what it cost before was not that"


async def test_at_its_budget_a_deployment_grows_no_more(metered: Metered) -> None:
    chat = await metered.ready(usd_per_month=10.0)
    await metered.let_it_have_cost(10.5)
    await metered.controller.meter()
    for number in range(5):
        await metered.offer(chat, f"job-{number}")
    await metered.quiet()
    row = await metered.deployment(chat)
    assert (row.state, row.target_replicas) == ("ready", 1)
    assert "the budget of $10 a month is spent: no more replicas until" in row.reason
    assert [each.reason for each in await metered.decisions(chat, "budget")] == ["held"]
    assert not (await metered.route()).over_budget, "what runs serves"


async def test_past_the_grace_it_drains_and_requests_are_told_when_it_begins_anew(
    metered: Metered,
) -> None:
    chat = await metered.ready(usd_per_month=10.0)
    await metered.let_it_have_cost(11.5)
    await metered.controller.meter()
    row = await metered.until_state(chat, "idle")
    assert row.target_replicas == 0
    assert "nothing runs until" in row.reason
    route = await metered.route()
    assert "the budget of deployment 'chat', $10 a month, is spent" in route.over_budget
    assert route.over_budget_s > 0
    metered.cloud.sold = MarketCloud().sold
    await metered.set_budget(chat, usd_per_month=20.0)
    await metered.controller.meter()
    await metered.until_state(chat, "ready")
    assert not (await metered.route()).over_budget
    told = [each.reason for each in await metered.decisions(chat, "budget")]
    assert told == ["closed", "open"]


async def test_a_tenant_pays_by_its_tokens_and_stops_at_its_budget(metered: Metered) -> None:
    chat = await metered.ready()
    await metered.offer(chat, "job-1")
    queue = JobQueue(metered.jobs, chat.revision_id)
    await queue.lease("rep-1", 1, 1000, 30.0)
    assert await queue.settle("job-1", "gateway", JobState.COMPLETED, "stop", 4)
    await metered.let_it_have_cost(3.0)
    for _ in range(2):  # counted once however often it is read
        await metered.controller.meter()
        [used] = await metered.tokens()
        assert (used.tenant, used.prompt_tokens, used.output_tokens, used.jobs) == (
            "default",
            3,
            4,
            1,
        )
    async with metered.database.transaction() as session:
        await budgets.set_tenant(session, "default", 2.0, None)
    await metered.controller.meter()
    async with metered.database.snapshot() as session:
        spent = await budgets.spendings(session, [budgets.of_tenant("default")])
    assert spent[budgets.of_tenant("default")].day_micros == pytest.approx(3e6, rel=0.01)
    assert [each.reason for each in await metered.decisions(chat, "budget")] == ["closed"]

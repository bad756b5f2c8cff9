"""What machines cost, and what a budget does: real store, real queue, a cloud with prices."""

from __future__ import annotations

import pytest

from control_plane.store.clock import read_clock
from control_plane.store.repositories import budgets, prices
from control_plane.store.tables import Deployment, Instance, Replica
from infra.cloud.base import Market
from infra.queue.queue import JobQueue
from infra.states import JobState
from tests.control_plane.controller.market_cloud import A, MarketCloud, offer
from tests.control_plane.controller.metered import HOUR_S, Metered

POOL = f"aws/g6.xlarge/{A}/spot"


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
            row.state, row.ended_at = "terminated", now - 4 * HOUR_S
        for replica in await metered.replicas():
            ended = await session.get_one(Replica, replica.id)
            ended.state, ended.ended_at = "terminated", now - 4 * HOUR_S
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
        assert (await prices.newest(session, [POOL]))[POOL].usd_per_hour == 0.60
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


async def test_who_waits_where_a_spent_budget_starts_nothing_is_told_at_once(
    metered: Metered,
) -> None:
    chat = await metered.ready(usd_per_month=10.0)
    await metered.let_it_have_cost(11.5)
    await metered.controller.meter()
    await metered.until_state(chat, "idle")
    await metered.set_budget(chat, usd_per_month=11.0)
    await metered.controller.meter()
    assert [each.reason for each in await metered.decisions(chat, "budget")][-1] == "held"
    await metered.offer(chat, "job-1")
    await metered.quiet()
    row = await metered.deployment(chat)
    assert (row.state, row.target_replicas) == ("idle", 0)
    assert "and none runs: requests are refused" in row.reason
    ended = (await JobQueue(metered.jobs, chat.revision_id).attend("gateway", 60.0)).ended
    assert ended == {"job-1": "failed: budget_spent"}
    assert "is spent" in (await metered.route()).over_budget


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
    [told] = await metered.decisions(chat, "budget")
    assert (told.reason, told.outcome["means"]) == ("closed", "its requests are refused")
    assert told.formula == "$3.00 of the budget of $2 a day are spent"


async def test_a_deployment_that_is_deleted_and_made_again_has_spent_what_it_had(
    metered: Metered,
) -> None:
    model = await metered.model()
    chat = await metered.deploy(model, min_replicas=1)
    await metered.until_state(chat, "ready")
    await metered.let_it_have_cost(11.5)
    async with metered.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleting"
    await metered.until_state(chat, "deleted")
    again = await metered.deploy(model, min_replicas=1)
    await metered.set_budget(again, usd_per_month=10.0)
    await metered.controller.meter()
    assert [each.reason for each in await metered.decisions(again, "budget")] == ["closed"]
    assert (await metered.route()).over_budget


async def test_a_budget_that_goes_lets_it_start_and_says_so_and_one_that_comes_back_stops_it(
    metered: Metered,
) -> None:
    chat = await metered.ready(usd_per_day=10.0)
    await metered.let_it_have_cost(11.5)
    for budget in ({"usd_per_day": 10.0}, {}, {"usd_per_day": 9.0}, {"usd_per_day": 100.0}):
        await metered.set_budget(chat, **budget)
        await metered.controller.meter()
    told = [each.reason for each in await metered.decisions(chat, "budget")]
    assert told == ["closed", "open", "closed", "open"]


async def test_where_decisions_are_advice_a_budget_that_begins_anew_brings_back_what_ran(
    metered: Metered,
) -> None:
    """Else nothing would ever move it from none again."""
    chat = await metered.ready(usd_per_month=10.0)
    async with metered.database.transaction() as session:
        row = await session.get_one(Deployment, chat.id)
        scaling = {**row.spec["scaling"], "mode": "advise", "min_replicas": 0}
        row.spec = {**row.spec, "scaling": scaling}
    await metered.let_it_have_cost(11.5)
    await metered.controller.meter()
    await metered.until_state(chat, "idle")
    await metered.set_budget(chat, usd_per_month=100.0)
    await metered.controller.meter()
    await metered.offer(chat, "job-1")
    await metered.until_state(chat, "ready")
    assert (await metered.deployment(chat)).target_replicas == 1

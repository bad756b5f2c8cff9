"""As `test_repositories`, for the rows of the ledger."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.ledger.billing import Price
from control_plane.ledger.charge import Charge, Share
from control_plane.ledger.report import Cost, Line, Tokens
from control_plane.store.clock import read_clock
from control_plane.store.repositories import (
    budgets,
    charges,
    cost_sums,
    prices,
    replica_costs,
    replicas,
    token_counts,
)
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Instance, Replica
from infra.queue.usage import Usage
from tests.control_plane.store.exercised import every_function_of
from tests.control_plane.store.rows import add_instance, add_replica

HOUR = 3600
POOL = "local/process/here/on-demand"


async def _placed(session: AsyncSession) -> tuple[Instance, Replica]:
    instance, replica = await add_instance(session), await add_replica(session)
    instance.launched_at, instance.usd_per_hour = 0.0, 2.0
    replica.instance_id, replica.placed_at, replica.ended_at = instance.id, 100.0, 1900.0
    await session.flush()
    return instance, replica


async def test_charges(database: Database) -> None:
    async with database.transaction() as session:
        instance, replica = await _placed(session)
    chat, id = replica.deployment_id, instance.id
    first = Charge(id, 0, 3600.0, 100, 10, (Share(chat, 3600.0, 80, 30),))
    rest = Charge(id, HOUR, 60.0, 5, 1, (Share("", 0.0, 0, 6),))
    with every_function_of(charges):
        async with database.transaction() as session:
            assert [each.id for each in await charges.unmetered(session, "", 9)] == [id]
            await charges.write(session, [first])
            await charges.write(session, [first, rest])
        async with database.snapshot() as session:
            assert await charges.newest_hours(session, [id]) == {id: HOUR}
            found = await charges.replicas_since(session, [id], 1000.0)
            assert [each.id for each in found] == [replica.id]
            assert await charges.replicas_since(session, [id], 2000.0) == []
            assert [each.id for each in await charges.last_on(session, [id])] == [replica.id]
            hours = await charges.by_hour(session, 0, 2 * HOUR)
            assert hours == [Cost(chat, 0, 80, 30), Cost("", HOUR, 0, 6)]
            [machine] = await charges.by_instance(session, 0, 2 * HOUR)
            assert (machine.seconds, machine.used_micros, machine.idle_micros) == (3660.0, 80, 36)
            assert await charges.spent_micros(session, 0, 2 * HOUR) == {chat: 110, "": 6}
            assert await charges.spent_micros(session, HOUR, 2 * HOUR) == {"": 6}
        async with database.transaction() as session:
            await charges.close(session, [id])
        async with database.snapshot() as session:
            assert await charges.unmetered(session, "", 9) == []


async def test_cost_sums(database: Database) -> None:
    """Of one machine in an hour of each of two days: the second is in nobody's hands for a part."""
    async with database.transaction() as session:
        instance, replica = await _placed(session)
        chat, next_day = replica.deployment_id, 24 * HOUR
        parts = (Share(chat, 60.0, 50, 20), Share("", 0.0, 0, 30))
        for hour, shares in ((HOUR, parts[:1]), (next_day, parts)):
            await charges.write(session, [Charge(instance.id, hour, 60.0, 100, 0, shares)])
        used = [
            Usage(*who, "e", 4, 2, 1) for who in (("a", 0), ("b", HOUR), ("a", next_day + HOUR))
        ]
        await token_counts.write(session, {replica.revision_id: used}, {replica.revision_id: chat})
    with every_function_of(cost_sums):
        async with database.snapshot() as session:
            by_day = {"0": Line(50, 20, 8, 4, 2), str(next_day): Line(50, 50, 4, 2, 1)}
            assert await cost_sums.by_day(session, 0, 2 * next_day) == by_day
            whole = {chat: Line(100, 40, 12, 6, 3), "": Line(0, 30)}
            assert await cost_sums.by_deployment(session, 0, 2 * next_day) == whole
            first_day = {chat: Line(50, 20, 8, 4, 2)}
            assert await cost_sums.by_deployment(session, 0, next_day) == first_day
            own = {**by_day, str(next_day): Line(50, 20, 4, 2, 1)}
            assert await cost_sums.by_day(session, 0, 2 * next_day, [chat]) == own
            assert await cost_sums.by_deployment(session, 0, 2 * next_day, ["other"]) == {}


async def test_replica_costs(database: Database) -> None:
    """Replicas that failed beside each other cost their machine once."""
    async with database.transaction() as session:
        instance, first = await _placed(session)
        instance.launched_at = 700.0
        second = await replicas.add(session, await session.get_one(Deployment, first.deployment_id))
        second.instance_id, second.placed_at, second.ended_at = instance.id, 100.0, 2500.0
        await session.flush()
        with every_function_of(replica_costs):
            alone = await replica_costs.usd_by_deployment(session, [first.id])
            both = await replica_costs.usd_by_deployment(session, [first.id, second.id])
    assert alone == {first.deployment_id: pytest.approx(2 / 3)}, "1200 s since its launch"
    assert both == {first.deployment_id: pytest.approx(1.0)}, "and 600 s more of the other"


async def test_an_hour_that_is_written_again_replaces_whose_it_was(database: Database) -> None:
    async with database.transaction() as session:
        instance, replica = await _placed(session)
    whole = Share(replica.deployment_id, 60.0, 50, 0)
    parts = (Share("", 0.0, 0, 50),)
    for shares in ((whole,), parts):
        async with database.transaction() as session:
            await charges.write(session, [Charge(instance.id, 0, 60.0, 50, 0, shares)])
    async with database.snapshot() as session:
        assert await charges.by_hour(session, 0, HOUR) == [Cost("", 0, 0, 50)]


async def test_hours_that_turn_out_not_to_have_been_are_gone(database: Database) -> None:
    """A clock that was ahead was set back."""
    async with database.transaction() as session:
        instance, _ = await _placed(session)
    nobodys = (Share("", 0.0, 0, 50),)
    both = [Charge(instance.id, hour, 60.0, 50, 0, nobodys) for hour in (0, HOUR)]
    for written in (both, both[:1]):
        async with database.transaction() as session:
            await charges.write(session, written)
    async with database.snapshot() as session:
        assert await charges.newest_hours(session, [instance.id]) == {instance.id: 0}
        assert await charges.by_hour(session, 0, 9 * HOUR) == [Cost("", 0, 0, 50)]


async def test_prices(database: Database) -> None:
    with every_function_of(prices):
        async with database.transaction() as session:
            instance = await add_instance(session)
            assert prices.pool_of(instance) == POOL
            for since, usd in ((10.0, 1.0), (20.0, 2.0), (30.0, 3.0)):
                await prices.add(session, {POOL: usd}, since)
        async with database.snapshot() as session:
            assert await prices.newest(session, [POOL, "other"]) == {POOL: Price(30.0, 3.0)}
            found = await prices.since(session, [POOL], 25.0)
            assert found == {POOL: [Price(20.0, 2.0), Price(30.0, 3.0)]}


async def test_token_counts(database: Database) -> None:
    with every_function_of(token_counts):
        async with database.transaction() as session:
            replica = await add_replica(session)
            queues = await token_counts.queues(session, 0.0)
            assert queues == {replica.revision_id: replica.deployment_id}
            for output_tokens in (5, 9, 7):  # whoever is late has seen less
                used = Usage("acme", 0, "epoch", 3, output_tokens, 1)
                await token_counts.write(session, {replica.revision_id: [used]}, queues)
            emptied = Usage("acme", 0, "another epoch", 1, 1, 1)
            await token_counts.write(session, {replica.revision_id: [emptied]}, queues)
        async with database.snapshot() as session:
            found = await token_counts.by_hour(session, 0, HOUR)
            assert found == [Tokens(replica.deployment_id, "acme", 0, 4, 10, 2)]


async def test_budgets(database: Database) -> None:
    with every_function_of(budgets):
        async with database.transaction() as session:
            await budgets.set_tenant(session, "acme", 1.0, None)
            budget = await budgets.set_tenant(session, "acme", 2.0, 20.0)
            assert (budget.usd_per_day, budget.usd_per_month) == (2.0, 20.0)
            ids = [budgets.of_tenant("acme"), budgets.of_deployment("dep-1")]
            now = await read_clock(session)
            times = {"day": 0, "month": 0, "updated_at": now, "stage": "open"}
            for micros in (1, 2):
                spent = {"day_micros": micros, "month_micros": micros, **times}
                await budgets.write_spendings(session, [{"id": id, **spent} for id in ids])
        async with database.snapshot() as session:
            assert [each.tenant for each in await budgets.tenants(session)] == ["acme"]
            assert (await budgets.spendings(session, ids))[ids[1]].day_micros == 2
        async with database.transaction() as session:
            await budgets.inherit(session, "dep-1", "dep-2")
            await budgets.inherit(session, "dep-none", "dep-3")
            heirs = [budgets.of_deployment(each) for each in ("dep-2", "dep-3")]
            found = await budgets.spendings(session, heirs)
            assert {id: each.month_micros for id, each in found.items()} == {heirs[0]: 2}
        async with database.transaction() as session:
            assert await budgets.remove_tenant(session, "acme") is not None
            assert await budgets.remove_tenant(session, "acme") is None
            assert (await budgets.spendings(session, ids)).keys() == {ids[1]}

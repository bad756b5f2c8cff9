"""What is billed follows what the cloud did, whoever saw it and when."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.deployment_costs import DeploymentCosts
from control_plane.ledger.charge import Charge, Share
from control_plane.store.clock import read_clock
from control_plane.store.repositories import charges, instances, prices
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Replica
from infra.cloud.base import CloudError, CloudInstance, LaunchRequest, Market
from infra.periods import day
from tests.control_plane.controller.asked import asked
from tests.control_plane.controller.market_cloud import A, B, offer
from tests.control_plane.controller.metered import ALWAYS, HOUR_S, Metered
from tests.control_plane.store.rows import add_instance

POOL = f"aws/g6.xlarge/{A}/spot"


async def test_a_machine_whose_launch_was_never_answered_is_billed_all_the_same(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = metered.cloud.launch

    async def answer_is_lost(request: LaunchRequest) -> CloudInstance:
        await launch(request)
        raise CloudError("timed out", retryable=True)

    monkeypatch.setattr(metered.cloud, "launch", answer_is_lost)
    chat = await metered.ready()
    machine: Instance | None = None

    async def is_known() -> bool:
        nonlocal machine
        [machine] = await metered.instances()
        return machine.launched_at is not None

    await metered.until(is_known, deadline_s=5.0)
    assert machine is not None
    assert machine.cloud_id == f"m-{machine.id}"
    await metered.controller.meter()
    assert {each.deployment_id for each in await metered.costs()} == {chat.id}


async def test_one_that_the_cloud_ended_while_nobody_looked_is_billed_to_its_end_alone(
    metered: Metered,
) -> None:
    chat = await metered.ready()
    await metered.began(hours_ago=6.0)
    [machine] = await metered.instances()
    async with metered.database.snapshot() as session:
        ended_at = await read_clock(session) - 4 * HOUR_S
    metered.cloud.take(machine.id)
    gone = msgspec.structs.replace(metered.cloud.machines[machine.id], ended_at=ended_at)
    metered.cloud.machines[machine.id] = gone
    await metered.set_budget(chat)

    async def has_ended() -> bool:
        async with metered.database.snapshot() as session:
            return (await session.get_one(Instance, machine.id)).ended_at is not None

    await metered.until(has_ended)
    await metered.new_controller().meter()
    async with metered.database.snapshot() as session:
        told = await charges.by_instance(session, 0, ended_at + 10 * HOUR_S)
    assert {each.instance_id: each.seconds for each in told}[machine.id] == pytest.approx(
        2 * HOUR_S, abs=1.0
    )


async def test_a_price_that_is_no_number_is_not_written_and_the_others_are(
    metered: Metered,
) -> None:
    await metered.ready()
    other = f"aws/g6.xlarge/{B}/spot"
    async with metered.database.transaction() as session:
        beside = await instances.add(session, "aws", "g6.xlarge", B, "spot", 0.32)
        await instances.launched(session, beside.id, "m-beside", {})
    metered.cloud.sold = [
        offer("g6.xlarge", A, Market.SPOT, float("nan")),
        offer("g6.xlarge", B, Market.SPOT, 0.5),
    ]
    await metered.new_controller().meter()
    async with metered.database.snapshot() as session:
        found = await prices.newest(session, [POOL, other])
    assert {pool: price.usd_per_hour for pool, price in found.items()} == {other: 0.5}


async def test_a_machine_that_cannot_be_metered_does_not_keep_the_others_from_it(
    metered: Metered,
) -> None:
    await metered.ready()
    async with metered.database.transaction() as session:
        beside = await instances.add(session, "aws", "g6.xlarge", B, "on-demand", float("inf"))
        await instances.launched(session, beside.id, "m-beside", {})
    await metered.controller.meter()
    assert sum(each.used_micros for each in await metered.costs()) > 0


async def test_what_a_clock_that_was_ahead_had_written_is_gone_once_it_is_right(
    metered: Metered,
) -> None:
    chat = await metered.ready()
    [machine] = await metered.instances()
    async with metered.database.transaction() as session:
        ahead = int(await read_clock(session) // HOUR_S + 3) * 3600
        wrong = (Share(chat.id, HOUR_S, 10**9, 0),)
        await charges.write(session, [Charge(machine.id, ahead, HOUR_S, 10**9, 0, wrong)])
    await metered.began(hours_ago=1.0)
    await metered.controller.meter()
    assert all(each.hour < ahead for each in await metered.costs())


async def test_a_price_that_is_again_what_it_was_before_the_launch_counts(
    metered: Metered,
) -> None:
    async with metered.database.transaction() as session:
        await prices.add(session, {POOL: 0.10}, await read_clock(session))
    await metered.ready()  # at $0.30 an hour, as the cloud says then
    metered.cloud.sold = [offer("g6.xlarge", A, Market.SPOT, 0.10)]
    for _ in range(2):
        await metered.new_controller().meter()
    async with metered.database.snapshot() as session:
        found = await prices.since(session, [POOL], 0.0)
    assert [each.usd_per_hour for each in found[POOL]] == [0.10, 0.10], "written anew, and once"


async def test_weeks_in_which_nobody_metered_are_written_in_small_transactions(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.controller.charge_book._HOURS_AT_ONCE", 60)
    await metered.ready()
    async with metered.database.transaction() as session:
        for number in range(3):
            beside = await instances.add(session, "aws", "g6.xlarge", B, "spot", 0.32)
            await instances.launched(session, beside.id, f"m-{number}", {})
    await metered.began(hours_ago=50.0)
    written: list[int] = []
    write = charges.write

    async def noted(session: AsyncSession, computed: Sequence[Charge]) -> None:
        written.append(len(computed))
        await write(session, computed)

    monkeypatch.setattr(charges, "write", noted)
    await metered.new_controller().meter()
    assert len(written) == 4
    assert max(written) < 60
    async with metered.database.snapshot() as session:
        assert len(await charges.by_instance(session, 0, ALWAYS)) == 4


async def test_a_day_that_is_over_is_summed_up_once_an_hour(database: Database) -> None:
    now = day(1_795_000_000)[0] + 10 * HOUR_S
    yesterday = int(now - 24 * HOUR_S)
    costs = DeploymentCosts()
    async with database.transaction() as session:
        instance = await add_instance(session)
        shares = (Share("dep-1", HOUR_S, 5, 2),)
        hours = (yesterday, int(now))
        await charges.write(
            session, [Charge(instance.id, at, HOUR_S, 7, 0, shares) for at in hours]
        )
    async with database.snapshot() as session:
        assert await costs.spent(session, now) == ({"dep-1": 7}, {"dep-1": 14})
        with asked(database) as found:
            assert await costs.spent(session, now + 60.0) == ({"dep-1": 7}, {"dep-1": 14})
        assert len(found.reads) == 1
    async with database.transaction() as session:
        shares = (Share("dep-1", HOUR_S, 100, 0),)
        await charges.write(session, [Charge(instance.id, yesterday, HOUR_S, 100, 0, shares)])
    async with database.snapshot() as session:
        assert (await costs.spent(session, now + HOUR_S))[1] == {"dep-1": 100}, "written late"


async def test_a_machine_that_was_kept_is_its_deployments_after_it_was_let_go_too(
    metered: Metered,
) -> None:
    chat = await metered.ready()
    await metered.began(hours_ago=5.0)
    async with metered.database.transaction() as session:
        now = await read_clock(session)
        for replica in await metered.replicas():
            row = await session.get_one(Replica, replica.id)
            row.state, row.ended_at = "terminated", now - 4.9 * HOUR_S
    await metered.new_controller().meter()
    for _ in range(2):
        await metered.new_controller().meter()
        assert {each.deployment_id for each in await metered.costs()} == {chat.id}

"""What stays at zero, and what the ledger says of each start."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from control_plane.store.tables import Deployment, Instance, Start
from infra.states import ReplicaState
from infra.wire import StartReport
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.scripted_agent import ScriptedAgent

MEASURED = StartReport(
    phases_s={"engine": 0.5, "load": 1.0, "first_token": 0.25},
    tier="disk",
    bytes_by_tier={"disk": 1000},
    standby=True,
)


async def at_zero(cell: Cell, keep_warm: str) -> Deployment:
    chat = await cell.deploy(await cell.model(), idle_s=0.2, keep_warm=keep_warm)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    await cell.settle_job(chat, "job-1")
    await cell.until_state(chat, "idle")
    await cell.quiet()
    return chat


async def lines(cell: Cell) -> list[Start]:
    async with cell.database.snapshot() as session:
        return list(await session.scalars(select(Start).order_by(Start.id)))


async def test_a_replica_sleeps_at_zero_and_wakes_before_another_is_started(cell: Cell) -> None:
    chat = await at_zero(cell, "sleep")
    [asleep] = await cell.replicas()
    assert (asleep.state, cell.cloud.launches) == ("sleeping", 1)
    [told] = [spec for agent in cell.agents.values() for spec in agent.assignment.replicas]
    assert (told.asleep, told.draining) == (True, False)
    assert (await cell.decisions(chat))[-1].outcome["sleep"] == asleep.id

    await cell.offer(chat, "job-2")
    await cell.until_state(chat, "ready")
    [awake] = await cell.replicas()
    assert (awake.id, awake.state, awake.wakes) == (asleep.id, "ready", 1)
    assert cell.cloud.launches == 1


async def test_a_replica_that_ends_in_its_sleep_is_not_a_failed_start(cell: Cell) -> None:
    chat = await at_zero(cell, "sleep")
    [agent] = cell.agents.values()
    agent.becomes = ReplicaState.FAILED
    await cell.quiet()
    assert await cell.replicas() == []
    assert (await cell.deployment(chat)).state == "idle"

    await cell.offer(chat, "job-2")
    await cell.until_state(chat, "ready")
    assert [each.wakes for each in await cell.replicas()] == [0]


async def test_a_sleeping_replica_ends_with_its_instance(cell: Cell) -> None:
    chat = await at_zero(cell, "sleep")
    [instance] = await cell.instances()
    await cell.cloud.terminate(instance.id)
    await cell.quiet()
    assert await cell.replicas() == []
    await cell.offer(chat, "job-2")
    await cell.until_state(chat, "ready")


@pytest.mark.parametrize("keep_warm", ["sleep", "machine", "standby"])
async def test_nothing_stays_of_a_deployment_that_is_deleted(cell: Cell, keep_warm: str) -> None:
    chat = await at_zero(cell, keep_warm)
    assert len(await cell.instances()) == 1
    async with cell.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleting"
    await cell.until_state(chat, "deleted")

    async def nothing_runs() -> bool:
        return not (await cell.instances() or cell.cloud.alive())

    await cell.until(nothing_runs)


@pytest.mark.parametrize(("keep_warm", "standby"), [("machine", ""), ("standby", "paced")])
async def test_an_instance_stays_at_zero_and_takes_the_next_replica(
    cell: Cell, keep_warm: str, standby: str
) -> None:
    chat = await at_zero(cell, keep_warm)
    [kept] = await cell.instances()
    [agent] = cell.agents.values()
    assert (kept.state, agent.assignment.standby) == ("joined", standby)
    assert await cell.replicas() == []

    await cell.offer(chat, "job-2")
    await cell.until_state(chat, "ready")
    [replica] = await cell.replicas()
    assert (replica.instance_id, cell.cloud.launches) == (kept.id, 1)


async def test_what_no_longer_stays_is_given_up_when_the_deployment_says_so(cell: Cell) -> None:
    chat = await at_zero(cell, "sleep")
    async with cell.database.transaction() as session:
        row = await session.get_one(Deployment, chat.id)
        row.spec = {**row.spec, "scaling": {**row.spec["scaling"], "keep_warm": "none"}}

    async def nothing_runs() -> bool:
        return not (await cell.instances() or await cell.replicas())

    await cell.until(nothing_runs)


async def test_the_ledger_has_every_start_by_phase(cell: Cell) -> None:
    def measured(agent: ScriptedAgent) -> None:
        agent.start = MEASURED

    cell.script = measured
    chat = await at_zero(cell, "sleep")
    [first] = await lines(cell)
    async with cell.database.snapshot() as session:
        [instance] = await session.scalars(select(Instance))
    assert (first.outcome, first.tier, first.standby) == ("ready", "disk", True)
    assert (first.instance_type, first.zone) == (instance.instance_type, instance.zone)
    assert first.bytes_by_tier == {"disk": 1000}
    assert set(first.phases_s) == {
        *("decide", "launch", "boot", "join", "engine", "load", "first_token")
    }
    assert first.closed_at is not None

    await cell.offer(chat, "job-2")
    await cell.until_state(chat, "ready")
    await cell.quiet()
    wake = (await lines(cell))[1]
    assert (wake.wakes, wake.outcome, wake.replica_id) == (1, "ready", first.replica_id)


async def test_a_start_that_failed_is_in_the_ledger_with_its_reason(cell: Cell) -> None:
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.FAILED)
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "failed")
    await cell.quiet()
    found = await lines(cell)
    assert len(found) == 3, "as many as were tried"
    assert {(each.outcome, each.reason) for each in found} == {("failed", "the script says so")}


async def test_another_controller_goes_on_with_the_ledger(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [agent] = cell.agents.values()
    agent.start = MEASURED
    await agent.beat()
    for controller in (cell.new_controller(), cell.new_controller()):
        await controller.reconcile()
    [line] = await lines(cell)
    assert line.phases_s["first_token"] == 0.25
    assert line.closed_at is not None

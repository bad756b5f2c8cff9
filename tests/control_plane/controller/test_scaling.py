"""What an owner says about the number of replicas, and what replicas measure, in a controller over
real stores and queues."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from control_plane.store.clock import read_clock
from control_plane.store.tables import Deployment, Model
from infra import reasons
from infra.performance.model_facts import facts_of
from infra.wire import StepSample
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.scripted_agent import ScriptedAgent
from tests.fixtures.database import on_sqlite_alone

pytestmark = on_sqlite_alone
_SMALL = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


async def write(cell: Cell, deployment: Deployment, **values: Any) -> None:
    async with cell.database.transaction() as session:
        row = await session.get_one(Deployment, deployment.id)
        for name, value in values.items():
            setattr(row, name, value)


async def now(cell: Cell) -> float:
    async with cell.database.snapshot() as session:
        return await read_clock(session)


async def test_an_order_holds_until_it_is_over_and_then_demand_counts(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), idle_s=0.2)
    until = await now(cell) + 600
    await write(cell, chat, override_replicas=2, override_until=until)
    await cell.until_state(chat, "ready")
    assert len(await cell.replicas()) == 2
    assert (await cell.decisions(chat))[-1].reason == "ordered"
    await write(cell, chat, override_until=await now(cell) - 1)
    await cell.until_state(chat, "idle")
    await cell.quiet()
    assert await cell.replicas() == []


async def test_where_decisions_are_advice_an_orders_end_brings_back_what_was_before(
    cell: Cell,
) -> None:
    """Else nobody would ever give back what it asked for."""
    chat = await cell.deploy(await cell.model(), max_replicas=3, idle_s=0.2)
    await write(cell, chat, override_replicas=1, override_until=1e12)
    await cell.until_state(chat, "ready")
    row = await cell.deployment(chat)
    advise = {**row.spec["scaling"], "mode": "advise"}
    await write(cell, chat, spec={**row.spec, "scaling": advise}, override_replicas=2)
    await cell.quiet()
    assert len(await cell.replicas()) == 2
    await write(cell, chat, override_until=await now(cell) - 1)
    await cell.until_state(chat, "idle")
    await cell.quiet()
    assert await cell.replicas() == []
    assert (await cell.decisions(chat))[-1].outcome["target_replicas"] == 0


async def test_an_order_of_none_stops_what_runs_and_keeps_what_waits(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    until = await now(cell) + 600
    await write(cell, chat, override_replicas=0, override_until=until)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "idle")
    await write(cell, chat, override_replicas=None)
    await cell.until_state(chat, "ready")
    assert (await cell.deployment(chat)).target_replicas == 1


async def test_a_schedule_that_holds_now_is_the_minimum(cell: Cell) -> None:
    always = {"cron": "* * * * *", "duration_s": 3600.0, "min_replicas": 2}
    chat = await cell.deploy(await cell.model(), schedule=[always])
    await cell.until_state(chat, "ready")
    assert len(await cell.replicas()) == 2
    decision = (await cell.decisions(chat))[-1]
    assert (decision.reason, decision.inputs["scheduled"]) == ("scheduled", 2)


async def test_a_schedule_that_begins_soon_is_asked_for_once(cell: Cell) -> None:
    """Though the first start is a hundred times shorter than was believed."""
    soon = datetime.fromtimestamp(await now(cell) + 115.0, UTC)
    line = {"cron": f"{soon.minute} * * * *", "duration_s": 600.0, "min_replicas": 1}
    chat = await cell.deploy(await cell.model(), idle_s=0.2, schedule=[line])
    await cell.until_state(chat, "ready")
    await cell.quiet()
    assert [each.reason for each in await cell.decisions(chat)] == ["scheduled"]
    assert (await cell.deployment(chat)).state == "ready"


async def test_advice_is_stored_once_and_nothing_is_started(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), mode="advise")
    for number in range(4):
        await cell.offer(chat, f"job-{number}")
    await cell.quiet()
    assert await cell.replicas() == []
    [decision] = [each for each in await cell.decisions(chat) if each.reason == "advice"]
    assert decision.inputs["advised"] == 2
    assert "2 would be right" in decision.formula


async def measured_model(cell: Cell) -> Model:
    model = await cell.model()
    async with cell.database.transaction() as session:
        row = await session.get_one(Model, model.id)
        row.facts = asdict(facts_of(_SMALL))
    return model


def measures(agent: ScriptedAgent) -> None:
    """Decodes of 20 to 40 ms, by their number, and prompts at a thousand tokens a second."""
    agent.steps = [
        *(StepSample(n, n * 300, 0, 0, 0.02 + n * 0.001) for n in (1, 4, 8, 20)),
        *(StepSample(0, 0, n, 0, 0.01 + n * 0.001) for n in (50, 100, 200, 400)),
    ]
    agent.kv_tokens = 100_000


async def test_capacity_is_what_replicas_measure_within_the_slo(cell: Cell) -> None:
    """On a device that no data sheet describes it is not known until then."""
    cell.script = measures
    chat = await cell.deploy(await measured_model(cell), max_replicas=3)
    spec = {**chat.spec, "slo": {"ttft_ms": 2000.0, "tpot_ms": 60.0}}
    await write(cell, chat, spec=spec)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    first = (await cell.decisions(chat))[0]
    assert "capacity" not in first.inputs
    assert "no replica has measured steps yet" in first.inputs["uncounted"]
    for _ in range(30):
        await cell.step()
    await write(cell, chat, spec={**spec, "scaling": {**spec["scaling"], "min_replicas": 2}})
    await cell.quiet()
    capacity = (await cell.decisions(chat))[-1].inputs["capacity"]
    assert capacity["source"] == "measured"
    assert 1 <= capacity["sequences"] <= 2, "max_running is 2"
    assert 10 < capacity["decode_tokens_per_s"] < 100, "two tokens in 22 ms or more"


async def test_an_slo_that_replicas_cannot_meet_is_said_and_jobs_count_instead(cell: Cell) -> None:
    cell.script = measures
    chat = await cell.deploy(await measured_model(cell), max_replicas=3)
    await write(cell, chat, spec={**chat.spec, "slo": {"tpot_ms": 5.0}})
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    for _ in range(30):
        await cell.step()
    for number in range(2, 4):
        await cell.offer(chat, f"job-{number}")
    await cell.quiet()
    decision = (await cell.decisions(chat))[-1]
    assert decision.outcome["target_replicas"] == 2, "three jobs, two a replica"
    assert "(SLO 5)" in decision.inputs["uncounted"]


async def test_who_asks_why_nothing_changes_is_told_what_the_next_pass_concludes(
    cell: Cell,
) -> None:
    chat = await cell.deploy(await cell.model(), max_replicas=1)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    await cell.offer(chat, "job-2")
    await cell.quiet()
    asking = asyncio.create_task(reasons.ask(cell.jobs, chat.id, limit_s=30.0))

    async def answered() -> bool:
        return asking.done()

    await cell.until(answered)
    told = await asking
    assert told is not None
    [decision] = await cell.decisions(chat)
    assert decision.inputs["pending_jobs"] == 1
    assert (told["target_replicas"], told["inputs"]["pending_jobs"]) == (1, 2)
    assert "2 pending" in told["formula"]
    assert await reasons.asked(cell.jobs) == set()


async def test_where_no_controller_runs_nobody_says_why(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model())
    assert await reasons.ask(cell.jobs, chat.id, limit_s=0.05) is None

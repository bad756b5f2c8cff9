"""What happens when machines, agents, replicas, Redis and the cloud fail."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from control_plane.store.repositories import replicas
from control_plane.store.tables import Deployment
from control_plane.tasks.secret import control_plane_secret
from infra.cloud.base import CloudInstanceState
from infra.peer_access import weights_key
from infra.queue.queue import JobQueue
from infra.states import ReplicaState
from tests.control_plane.controller.cell import Cell


async def test_a_dead_agent_is_replaced_and_its_jobs_are_offered_again_at_once(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [dead] = await cell.replicas()
    await cell.offer(chat, "job-1")
    queue = JobQueue(cell.jobs, chat.revision_id)
    assert len(await queue.lease(dead.id, 1, 100, ttl_s=600.0)) == 1

    cell.cloud.put(dead.instance_id or "", CloudInstanceState.TERMINATED, "killed by SIGKILL")
    await cell.controller.reconcile()
    await cell.controller.reconcile()
    assert (await queue.signals()).orphaned == 1

    await cell.until_state(chat, "ready")
    [alive] = await cell.replicas()
    assert alive.id != dead.id
    async with cell.database.snapshot() as session:
        ended = await session.get_one(replicas.Replica, dead.id)
    assert (ended.state, "SIGKILL" in ended.reason) == ("failed", True)


async def test_jobs_of_an_old_revision_are_finished_though_its_last_replica_died(
    cell: Cell,
) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [old] = await cell.replicas()
    await cell.offer(chat, "job-1")
    await cell.change(chat, max_context_tokens=512)
    cell.cloud.put(old.instance_id or "", CloudInstanceState.TERMINATED, "killed by SIGKILL")

    async def revisions_ready() -> list[str]:
        live = await cell.replicas()
        return sorted(each.revision_id for each in live if each.state == "ready")

    wanted = (await cell.deployment(chat)).revision_id

    async def both_serve() -> bool:
        return await revisions_ready() == sorted([old.revision_id, wanted])

    await cell.until(both_serve)
    await cell.settle_job(chat, "job-1")
    await cell.quiet()
    assert await revisions_ready() == [wanted]


async def test_jobs_of_an_old_revision_are_finished_though_its_newest_replica_was_too_many(
    cell: Cell,
) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [served] = await cell.replicas()
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.LOADING)
    until = 1e12
    await _write(cell, chat, override_replicas=2, override_until=until)
    await cell.quiet()
    await _write(cell, chat, override_replicas=1)
    await cell.quiet()
    assert [each.id for each in await cell.replicas()] == [served.id], "the newest went unready"
    await _write(cell, chat, override_until=0.0)
    cell.script = lambda agent: None
    await cell.offer(chat, "job-1")
    await cell.change(chat, max_context_tokens=512)
    cell.cloud.put(served.instance_id or "", CloudInstanceState.TERMINATED, "killed by SIGKILL")

    async def serves_again() -> bool:
        live = await cell.replicas()
        old = [each for each in live if each.revision_id == served.revision_id]
        return any(each.state == "ready" and each.id != served.id for each in old)

    await cell.until(serves_again)


async def test_an_order_of_none_starts_nothing_for_an_old_revision_either(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    await _write(cell, chat, override_replicas=0, override_until=1e12)
    await cell.until_state(chat, "idle")
    await cell.quiet()
    await cell.offer(chat, "job-1")
    await cell.change(chat, max_context_tokens=512)
    await cell.quiet()
    assert cell.cloud.launches == 1
    assert len(await cell.decisions(chat)) == 2


async def test_an_old_revision_that_no_longer_starts_is_tried_once(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [old] = await cell.replicas()
    await cell.offer(chat, "job-1")
    await cell.change(chat, max_context_tokens=512)
    await cell.until_state(chat, "ready")
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.FAILED)
    cell.cloud.put(old.instance_id or "", CloudInstanceState.TERMINATED, "killed by SIGKILL")
    await cell.quiet()
    assert cell.cloud.launches == 3
    assert (await cell.deployment(chat)).state == "ready"


async def test_an_agent_that_falls_silent_is_lost_replaced_and_terminated(cell: Cell) -> None:
    cell.settings = cell.settings.model_copy(update={"instance_lost_s": 0.2})
    cell.controller = cell.new_controller()
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [silent] = await cell.replicas()
    cell.agents[silent.instance_id or ""].silent = True

    async def replaced() -> bool:
        ready = [each for each in await cell.replicas() if each.state == "ready"]
        return bool(ready) and ready[0].id != silent.id

    await cell.until(replaced)
    await cell.quiet()
    assert cell.cloud.alive() == [each.instance_id for each in await cell.replicas()]


async def test_a_machine_that_never_joins_is_terminated_and_counts_as_a_failed_start(
    cell: Cell,
) -> None:
    cell.settings = cell.settings.model_copy(update={"join_limit_s": 0.1, "crash_limit": 2})
    cell.controller = cell.new_controller()
    cell.script = lambda agent: setattr(agent, "silent", True)
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    failed = await cell.until_state(chat, "failed")
    assert "did not join within" in failed.reason
    await cell.quiet()
    assert (cell.cloud.launches, cell.cloud.alive()) == (2, [])


async def test_a_launch_that_the_cloud_refuses_fails_the_start_with_its_words(cell: Cell) -> None:
    cell.cloud.refuses = "no such machine type"
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    assert "no such machine type" in (await cell.until_state(chat, "failed")).reason


async def test_a_crash_loop_backs_off_and_fails_until_the_spec_changes(cell: Cell) -> None:
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.FAILED)
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    failed = await cell.until_state(chat, "failed")
    assert "3 replicas in a row failed to start" in failed.reason
    assert "the script says so" in failed.reason
    await cell.quiet()
    assert (cell.cloud.launches, cell.cloud.alive()) == (3, [])
    await cell.controller.project()
    projection = await cell.projections.next(1.0)
    assert projection is not None
    assert failed.reason in projection.routes[0].unavailable

    cell.script = lambda agent: None
    await cell.change(chat)
    await cell.until_state(chat, "ready")
    await cell.controller.project()
    projection = await cell.projections.next(1.0)
    assert projection is not None
    assert projection.routes[0].unavailable == ""


async def test_starts_that_fail_take_nothing_from_those_who_serve(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1, idle_s=0.2)
    await cell.until_state(chat, "ready")
    [serves] = await cell.replicas()
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.FAILED)
    for job_id in ("job-1", "job-2", "job-3"):
        await cell.offer(chat, job_id)

    async def given_up() -> bool:
        return "no more are tried" in (await cell.deployment(chat)).reason

    await cell.until(given_up)
    await cell.quiet()
    assert (await cell.deployment(chat)).state == "degraded"
    assert [(each.id, each.state) for each in await cell.replicas()] == [(serves.id, "ready")]
    assert cell.cloud.launches == 4
    cell.script = lambda agent: None
    await cell.change(chat)
    await cell.until_state(chat, "ready")
    assert len(await cell.replicas()) == 2


async def test_who_waits_for_a_deployment_that_failed_is_told_at_once(cell: Cell) -> None:
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.FAILED)
    chat = await cell.deploy(await cell.model())
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "failed")
    await cell.quiet()
    ended = (await JobQueue(cell.jobs, chat.revision_id).attend("gateway", 60.0)).ended
    assert ended == {"job-1": "failed: deployment_failed"}


async def test_a_restarted_controller_remembers_the_failed_starts(cell: Cell) -> None:
    cell.settings = cell.settings.model_copy(update={"crash_wait_s": 600.0})
    cell.controller = cell.new_controller()
    cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.FAILED)
    chat = await cell.deploy(await cell.model(), min_replicas=1)

    async def failed_once() -> bool:
        return "failed in a row: 1" in (await cell.deployment(chat)).reason

    await cell.until(failed_once)
    cell.controller = cell.new_controller()
    await cell.quiet()
    assert cell.cloud.launches == 1


async def test_a_machine_that_no_row_knows_is_terminated(cell: Cell) -> None:
    cell.cloud.put("ins-nobodys", CloudInstanceState.RUNNING)
    await cell.quiet()
    assert cell.cloud.alive() == []


async def test_nothing_follows_from_a_cloud_that_does_not_answer(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    cell.cloud.broken = True
    await cell.quiet()
    assert [each.state for each in await cell.replicas()] == ["ready"]


async def test_the_others_go_on_when_one_reconciler_fails(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise RuntimeError("a bug")

    audit = next(each for each in cell.controller._reconcilers if each.name == "leak")
    monkeypatch.setattr(audit, "run", broken)
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")


async def test_a_missing_redis_changes_nothing_and_is_survived(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")

    async def away(*_: object, **__: object) -> None:
        raise RedisConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(cell.jobs.connection_pool, "get_connection", away)
        assert await cell.controller.reconcile() in (0, 1)
        await cell.controller.project()
        assert (await cell.decisions(chat))[-1].reason == "signals_stale"
        assert [each.state for each in await cell.replicas()] == ["ready"]
    await cell.until_state(chat, "ready")


async def test_an_assignment_that_redis_lost_is_told_again(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)

    async def joined() -> bool:
        return any(each.state == "joined" for each in await cell.instances())

    await cell.until(joined)
    await cell.controller.reconcile()
    await cell.jobs.flushall()
    before = time.monotonic()
    await cell.until_state(chat, "ready")
    assert time.monotonic() - before < 5.0


async def test_who_must_run_a_model_is_told_the_key_of_its_weights(cell: Cell) -> None:
    model = await cell.model()
    chat = await cell.deploy(model, min_replicas=1)
    await cell.until_state(chat, "ready")
    (told,) = [each for agent in cell.agents.values() for each in agent.assignment.replicas]
    assert told.weights_key == weights_key(control_plane_secret(cell.settings), told.model_uri)
    assert told.weights_key != weights_key(control_plane_secret(cell.settings), "file:///other")


async def test_a_boot_that_takes_longer_than_an_agent_may_be_silent_is_no_silence(
    cell: Cell,
) -> None:
    cell.settings = cell.settings.model_copy(update={"instance_lost_s": 0.3})
    cell.controller = cell.new_controller()
    cell.script = lambda agent: setattr(agent, "silent", True)
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    began_s = time.monotonic()

    async def booted_long() -> bool:
        return bool(cell.agents) and time.monotonic() - began_s > 0.6

    await cell.until(booted_long)
    [agent] = cell.agents.values()
    assert await agent.join(), "it has joined, and has said nothing yet"
    await cell.controller.reconcile()
    await cell.controller.reconcile()
    agent.silent = False
    await cell.until_state(chat, "ready")
    assert cell.cloud.launches == 1


async def _write(cell: Cell, deployment: Deployment, **values: Any) -> None:
    async with cell.database.transaction() as session:
        row = await session.get_one(Deployment, deployment.id)
        for name, value in values.items():
            setattr(row, name, value)

"""Agents that keep a process ready, and replicas that sleep: real processes, the paced engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from infra.embedded import EmbeddedValkey
from infra.ending import end_tasks
from infra.settings import Standby
from infra.starts import Phase
from infra.states import ReplicaState
from infra.wire import ReplicaSpec
from tests.fixtures.waiting import eventually, wait_until
from tests.worker.agent.consumer import Consumer
from tests.worker.agent.stage import Agent, Stage, staged
from worker.agent import standby
from worker.agent.engine_process import EngineProcess
from worker.agent.standby import Standbys

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
async def stage(
    tmp_path: Path, valkey: Redis, valkey_server: EmbeddedValkey
) -> AsyncIterator[Stage]:
    async with staged(tmp_path, valkey, valkey_server.url) as stage:
        yield stage


@pytest.fixture
async def consumer(valkey: Redis) -> AsyncIterator[Consumer]:
    async with Consumer(valkey, "revision").running() as consumer:
        yield consumer


async def standing(agent: Agent) -> int:
    """The process that stands by, once the agent says that it does."""

    async def told() -> bool:
        heartbeat = await agent.heartbeat()
        return heartbeat is not None and heartbeat.standbys == 1 and heartbeat.standby_bytes > 0

    await eventually(told, 20.0)
    (pid,) = agent.children()
    return pid


async def test_a_replica_takes_the_process_that_stood_by(stage: Stage, consumer: Consumer) -> None:
    agent = await stage.agent("instance-a", TAMER_STANDBY="auto")
    await agent.assign(standby="paced")
    pid = await standing(agent)

    await agent.assign(stage.replica("replica-a"))
    ready = await agent.until("replica-a", ReplicaState.READY)
    assert agent.children() == [pid]
    assert ready.start is not None and ready.start.standby
    assert {Phase.FETCH, Phase.ENGINE, Phase.LOAD, Phase.WARM} >= set(ready.start.phases_s)

    stream = await consumer.ask("job", [1], 3)
    await wait_until(lambda: stream.finish is not None, "the job finishes")
    told = await agent.report_where(
        "replica-a",
        lambda each: each.start is not None and Phase.FIRST_TOKEN in each.start.phases_s,
        "past its first token",
    )
    assert told.start is not None and told.start.phases_s[Phase.FIRST_TOKEN] < 20.0


async def test_a_machine_that_gives_no_process_to_stand_by_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []

    async def refused(engine: str, *_: object) -> EngineProcess:
        tries.append(engine)
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(EngineProcess, "stand_by", refused)
    monkeypatch.setattr(standby, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(standby, "_LOOK_S", 0.001)
    monkeypatch.setattr(standby, "ROOM_BYTES", 0)
    standbys = Standbys(Standby.ON, 1, lambda: True, lambda: None)
    keeping = asyncio.create_task(standbys.keep_forever(lambda: False))
    await wait_until(lambda: len(tries) > 1 or keeping.done(), "it is tried again")
    assert not keeping.done()
    await end_tasks(keeping)


async def test_a_standby_that_died_is_replaced(stage: Stage) -> None:
    agent = await stage.agent("instance-a")
    await agent.assign(standby="paced")
    pid = await standing(agent)
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: pid not in agent.children(), "the dead one is gone")
    assert await standing(agent) != pid


async def test_an_owner_can_forbid_standbys(stage: Stage) -> None:
    agent = await stage.agent("instance-a", TAMER_STANDBY="off")
    await agent.assign(stage.replica("replica-a"), standby="paced")
    ready = await agent.until("replica-a", ReplicaState.READY)
    assert ready.start is not None and not ready.start.standby
    heartbeat = await agent.heartbeat()
    assert heartbeat is not None and (heartbeat.standbys, len(agent.children())) == (0, 1)


async def test_a_replica_finishes_falls_asleep_and_wakes_for_the_next_job(
    stage: Stage, consumer: Consumer
) -> None:
    agent, spec = await serving(stage)
    stream = await consumer.ask("job-1", [1], 10)
    await agent.report_where("replica-a", lambda each: each.running == 1, "at work")
    await agent.assign(msgspec.structs.replace(spec, asleep=True))
    asleep = await agent.until("replica-a", ReplicaState.SLEEPING)
    assert stream.finish is not None, "what ran was finished first"
    assert asleep.memory_bytes > 0

    later = await consumer.ask("job-2", [1], 3)
    await agent.assign(msgspec.structs.replace(spec, wakes=1))
    await wait_until(lambda: later.finish is not None, "the job finishes")
    awake = await agent.until("replica-a", ReplicaState.READY)
    assert awake.start is not None
    assert (awake.start.wakes, awake.start.tier) == (1, "memory")


async def test_a_replica_that_is_woken_at_once_goes_on(stage: Stage, consumer: Consumer) -> None:
    agent, spec = await serving(stage)
    await agent.assign(msgspec.structs.replace(spec, asleep=True))
    await agent.assign(msgspec.structs.replace(spec, wakes=1))
    stream = await consumer.ask("job", [1], 3)
    await wait_until(lambda: stream.finish is not None, "the job finishes")


async def test_an_engine_that_dies_in_its_sleep_fails_its_replica(stage: Stage) -> None:
    agent, spec = await serving(stage)
    pid = await agent.engine_pid("replica-a")
    await agent.assign(msgspec.structs.replace(spec, asleep=True))
    await agent.until("replica-a", ReplicaState.SLEEPING)
    os.kill(pid, signal.SIGKILL)
    failed = await agent.until("replica-a", ReplicaState.FAILED)
    assert "SIGKILL" in failed.reason


async def test_a_sleeping_replica_drains_at_once(stage: Stage) -> None:
    agent, spec = await serving(stage)
    await agent.assign(msgspec.structs.replace(spec, asleep=True))
    await agent.until("replica-a", ReplicaState.SLEEPING)
    await agent.assign(msgspec.structs.replace(spec, draining=True))
    await agent.until("replica-a", ReplicaState.TERMINATED)


async def serving(stage: Stage) -> tuple[Agent, ReplicaSpec]:
    agent = await stage.agent("instance-a", TAMER_STANDBY="off")
    spec = stage.replica("replica-a")
    await agent.assign(spec)
    await agent.until("replica-a", ReplicaState.READY)
    return agent, spec

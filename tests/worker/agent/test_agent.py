"""The agent as a process, on the real queue: the paced engine judges every token."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from infra.embedded import EmbeddedValkey
from infra.states import ReplicaState
from infra.wire import WIRE_VERSION, FinishReason, Heartbeat
from loadtests.paced.context_hash import expected_tokens
from tests.fixtures.processes import alive
from tests.fixtures.waiting import eventually, wait_until
from tests.worker.agent.consumer import Consumer, Stream
from tests.worker.agent.stage import Agent, Stage, staged

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and parent deaths")


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


async def ready(stage: Stage, name: str, **options: object) -> Agent:
    agent = await stage.agent(f"instance-{name}")
    await agent.assign(stage.replica(f"replica-{name}", **options))
    await agent.until(f"replica-{name}", ReplicaState.READY)
    return agent


async def test_a_report_tells_the_steps_that_no_report_has_told_yet(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await ready(stage, "a")
    stream = await consumer.ask("job", [1, 2, 3], 64)
    report = await agent.report_where("replica-a", lambda each: bool(each.steps), "measured")
    assert {each.sequences for each in report.steps} == {1}
    assert all(3 < each.context_tokens <= 67 and each.seconds > 0 for each in report.steps)
    await finished(stream)
    await agent.report_where("replica-a", lambda each: not each.steps, "told of no more steps")


async def finished(stream: Stream) -> None:
    await wait_until(lambda: stream.finish is not None, f"{stream.spec.job_id} finishes")


def assert_undisturbed(stream: Stream) -> None:
    spec = stream.spec
    assert stream.finish is FinishReason.LENGTH
    assert stream.tokens == expected_tokens(spec.prompt, spec.sampling.max_tokens)


async def test_an_agent_joins_loads_serves_drains_and_leaves(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await stage.agent("instance-a")
    await agent.assign(stage.replica("replica-a", load_s=0.3, max_running=4))
    loading = await agent.until("replica-a", ReplicaState.LOADING)
    assert "weights" in loading.reason or "engine" in loading.reason
    await agent.until("replica-a", ReplicaState.READY)

    streams = [await consumer.ask(f"job-{i}", [i, 7], 20 + i) for i in range(10)]
    running = await agent.report_where("replica-a", lambda each: each.running == 4, "full")
    assert 0 < running.kv_tokens_used <= running.kv_tokens_total
    for stream in streams:
        await finished(stream)
        assert_undisturbed(stream)
    balance = await consumer.queue.balance()
    assert (balance.completed, balance.pending) == (10, 0)
    told = await agent.report_where(
        "replica-a", lambda each: each.output_tokens == sum(range(20, 30)), "counted"
    )
    assert told.running == 0

    await agent.assign(stage.replica("replica-a", draining=True), leave=True)

    async def last_beat() -> Heartbeat | None:
        """It outlives its agent for a moment only."""
        beat = await agent.heartbeat()
        states = [each.state for each in beat.replicas] if beat is not None and beat.leaving else []
        return beat if states == [ReplicaState.TERMINATED] else None

    last = await eventually(last_beat)
    assert last is not None
    assert last.wire_version == WIRE_VERSION
    assert await agent.ended() == 0


async def test_a_stream_survives_sigkill_of_its_agent_without_gap_or_repeat(
    stage: Stage, consumer: Consumer
) -> None:
    first = await ready(stage, "a", tokens_per_s=50.0)
    streams = [await consumer.ask(f"job-{i}", [i] * 5, 60) for i in range(3)]
    await wait_until(lambda: all(len(each.tokens) > 10 for each in streams), "all run")
    engine = await first.engine_pid("replica-a")
    first.signal(signal.SIGKILL)
    await first.ended()
    await wait_until(lambda: not alive(engine), "the engine is gone with its agent")
    await ready(stage, "b")
    for stream in streams:
        await finished(stream)
        assert_undisturbed(stream)
        assert stream.attempt == 2
        assert stream.replicas == ["replica-a", "replica-b"]


async def test_sigkill_of_an_engine_fails_its_replica_and_moves_its_jobs_at_once(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await stage.agent("instance-a", TAMER_SLOTS="2")
    await agent.assign(stage.replica("replica-a", tokens_per_s=50.0))
    await agent.until("replica-a", ReplicaState.READY)
    stream = await consumer.ask("job", [1, 2, 3], 60)
    await wait_until(lambda: len(stream.tokens) > 10, "the job runs")
    os.kill(await agent.engine_pid("replica-a"), signal.SIGKILL)
    failed = await agent.until("replica-a", ReplicaState.FAILED)
    assert "SIGKILL" in failed.reason
    await wait_until(lambda: stream.released == 1, "the consumer is told")
    await agent.assign(stage.replica("replica-b"))
    await finished(stream)
    assert_undisturbed(stream)
    assert stream.replicas == ["replica-a", "replica-b"]
    heartbeat = await agent.heartbeat()
    assert heartbeat is not None
    assert [each.replica_id for each in heartbeat.replicas] == ["replica-b"]


async def test_an_engine_that_breaks_is_reported_with_its_own_words(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await ready(stage, "a", fail_after_tokens=5)
    stream = await consumer.ask("job", [1], 40)
    failed = await agent.until("replica-a", ReplicaState.FAILED)
    assert "PacedFailure: broke after 5 tokens" in failed.reason
    await wait_until(lambda: stream.released == 1, "the job is given back")


async def test_an_engine_that_cannot_be_built_says_what_to_change(stage: Stage) -> None:
    agent = await stage.agent("instance-a", TAMER_SLOTS="3")
    await agent.assign(
        stage.replica("replica-a", tokens_per_s=-1.0), stage.replica("replica-b", speed=3)
    )
    first = await agent.until("replica-a", ReplicaState.FAILED)
    assert "tokens_per_s must be greater than 0" in first.reason
    second = await agent.until("replica-b", ReplicaState.FAILED)
    assert "speed" in second.reason


async def test_a_drain_lets_jobs_finish_and_hands_back_the_rest(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await stage.agent("instance-a", TAMER_DRAIN_LIMIT_S="0.5")
    await agent.assign(stage.replica("replica-a", tokens_per_s=20.0))
    await agent.until("replica-a", ReplicaState.READY)
    short = await consumer.ask("short", [1], 8)
    long = await consumer.ask("long", [2], 60)
    await wait_until(lambda: short.tokens and long.tokens, "both run")
    agent.signal(signal.SIGTERM)
    assert await agent.ended() == 0
    await finished(short)
    assert_undisturbed(short)
    assert short.replicas == ["replica-a"]
    await wait_until(lambda: long.released == 1, "the long job is handed back")
    late = await consumer.ask("late", [3], 5)
    await ready(stage, "b")
    for stream in (long, late):
        await finished(stream)
        assert_undisturbed(stream)
    assert late.replicas == ["replica-b"]


async def test_a_second_sigterm_ends_the_agent_and_its_engine_at_once(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await ready(stage, "a", tokens_per_s=1.0)
    stream = await consumer.ask("job", [1], 1000)
    await wait_until(lambda: stream.tokens, "the job runs")
    engine = await agent.engine_pid("replica-a")
    agent.signal(signal.SIGTERM)
    await agent.until("replica-a", ReplicaState.DRAINING)
    agent.signal(signal.SIGTERM)
    assert await agent.ended(2.0) == 128 + signal.SIGTERM
    await wait_until(lambda: not alive(engine), "the engine is gone")


async def test_a_cancelled_job_stops_and_its_neighbour_does_not_notice(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await ready(stage, "a", tokens_per_s=50.0)
    doomed = await consumer.ask("doomed", [1], 100_000)
    neighbour = await consumer.ask("neighbour", [2], 60)
    await wait_until(lambda: doomed.tokens and neighbour.tokens, "both run")
    await consumer.cancel("doomed")
    await agent.report_where("replica-a", lambda each: each.running == 1, "rid of the job")
    await finished(neighbour)
    assert_undisturbed(neighbour)


async def test_a_fenced_agent_does_not_speak_for_the_jobs_it_lost(
    stage: Stage, consumer: Consumer
) -> None:
    first = await ready(stage, "a", tokens_per_s=20.0)
    stream = await consumer.ask("job", [4, 5], 80)
    await wait_until(lambda: len(stream.tokens) > 5, "the job runs")
    first.signal(signal.SIGSTOP)
    await wait_until(lambda: stream.attempt == 2, "its lease has run out")
    await ready(stage, "b", tokens_per_s=20.0)
    await wait_until(lambda: len(stream.replicas) == 2, "the second attempt speaks")
    heard = len(consumer.heard)
    first.signal(signal.SIGCONT)
    await first.report_where("replica-a", lambda each: each.running == 0, "rid of the job")
    await finished(stream)
    assert_undisturbed(stream)
    said_after = [event for replica, event in consumer.heard[heard:] if replica == "replica-a"]
    assert said_after == []


async def test_an_engine_that_hangs_loses_its_jobs_although_its_agent_is_well(
    stage: Stage, consumer: Consumer
) -> None:
    agent = await stage.agent("instance-a", TAMER_SLOTS="2")
    await agent.assign(stage.replica("replica-a", tokens_per_s=20.0))
    await agent.until("replica-a", ReplicaState.READY)
    stream = await consumer.ask("job", [6], 30)
    await wait_until(lambda: len(stream.tokens) > 3, "the job runs")
    engine = await agent.engine_pid("replica-a")
    os.kill(engine, signal.SIGSTOP)
    await wait_until(lambda: stream.attempt == 2, "the lease has run out")
    failed = await agent.until("replica-a", ReplicaState.FAILED)
    assert "hangs" in failed.reason
    assert not alive(engine)
    await agent.assign(stage.replica("replica-b"))
    await finished(stream)
    assert_undisturbed(stream)


async def test_a_stream_goes_on_as_it_was_when_redis_hangs_for_less_than_a_lease(
    stage: Stage, consumer: Consumer, valkey_server: EmbeddedValkey
) -> None:
    await ready(stage, "a", tokens_per_s=50.0)
    stream = await consumer.ask("job", [8], 60)
    await wait_until(lambda: len(stream.tokens) > 3, "the job runs")
    os.kill(valkey_server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(0.4)
    finally:
        os.kill(valkey_server.pid, signal.SIGCONT)
    await finished(stream)
    assert_undisturbed(stream)
    assert stream.attempt == 1


async def test_a_job_that_can_never_run_is_refused_and_does_not_block_the_queue(
    stage: Stage, consumer: Consumer
) -> None:
    await ready(stage, "a", kv_tokens_total=100)
    huge = await consumer.ask("huge", [1] * 200, 50)
    small = await consumer.ask("small", [1], 5)
    await finished(huge)
    assert huge.finish is FinishReason.ERROR
    assert "200 tokens" in huge.error
    await finished(small)
    assert_undisturbed(small)


async def test_a_replica_beyond_the_slots_waits_for_its_turn(stage: Stage) -> None:
    agent = await ready(stage, "a")
    await agent.assign(stage.replica("replica-a"), stage.replica("replica-b"))
    waiting = await agent.until("replica-b", ReplicaState.REQUESTED)
    assert "slot" in waiting.reason
    await agent.assign(stage.replica("replica-a", draining=True), stage.replica("replica-b"))
    await agent.until("replica-b", ReplicaState.READY)
    await agent.until("replica-a", ReplicaState.TERMINATED)


async def test_a_replica_drained_while_it_waits_for_its_turn_ends_at_once(stage: Stage) -> None:
    agent = await ready(stage, "a")
    await agent.assign(stage.replica("replica-a"), stage.replica("replica-b"))
    await agent.until("replica-b", ReplicaState.REQUESTED)
    await agent.assign(stage.replica("replica-a"), stage.replica("replica-b", draining=True))
    await agent.until("replica-b", ReplicaState.TERMINATED)
    await agent.until("replica-a", ReplicaState.READY)


async def test_a_replica_drained_while_it_loads_ends_at_once(stage: Stage) -> None:
    agent = await stage.agent("instance-a")
    await agent.assign(stage.replica("replica-a", load_s=60.0))
    await agent.until("replica-a", ReplicaState.LOADING)
    engine = await agent.engine_pid("replica-a")
    await agent.assign()
    await wait_until(lambda: not alive(engine), "the engine is gone", 8.0)


async def test_lines_of_agent_and_engine_reach_the_log_of_the_replica(stage: Stage) -> None:
    agent = await ready(stage, "a")

    async def lines_up_to_ready() -> str:
        lines = "\n".join(await agent.log_lines("replica-a"))
        return lines if '"state": "ready"' in lines else ""

    assert "engine started" in await eventually(lines_up_to_ready)

"""What a replica says arrives in order, once a step, and not after its lease."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from infra.embedded import EmbeddedValkey
from infra.ending import end_tasks
from infra.queue.queue import Lease
from infra.token_stream import TokenReader, TokenWriter
from infra.wire import JobSpec, Sampling, StepTokens, TokenEvent
from tests.fixtures.waiting import wait_until
from worker.agent.clock import lease_clock_s
from worker.agent.held_jobs import HeldJob, HeldJobs
from worker.agent.outbox import Outbox, Said

LEASE_S = 30.0


def hold(job_id: str, consumer: str = "gateway", lease_s: float = LEASE_S) -> HeldJob:
    spec = JobSpec(job_id, "request", [1], Sampling(9))
    return HeldJobs(lease_s).take(Lease(job_id, 1, "nonce", consumer, b""), spec, lease_clock_s())


def said(job: HeldJob, index: int) -> Said:
    return Said(job, TokenEvent(job.job_id, 1, index, [index]))


@contextlib.asynccontextmanager
async def writing(outbox: Outbox) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.write_forever())
    try:
        yield
        assert not task.done()
    finally:
        await end_tasks(task)


async def heard(valkey: Redis, consumer: str = "gateway") -> list[StepTokens]:
    return await TokenReader(valkey, consumer).read(timeout_s=0.05)


async def test_a_step_is_one_message_for_each_consumer(valkey: Redis) -> None:
    outbox = Outbox(TokenWriter(valkey), "replica")
    jobs = [hold("a", "one"), hold("b", "two"), hold("c", "one")]
    async with writing(outbox):
        outbox.put([said(job, 0) for job in jobs])
        assert await outbox.flush(5.0)
    (one,) = await heard(valkey, "one")
    (two,) = await heard(valkey, "two")
    assert [event.job_id for event in one.events] == ["a", "c"]
    assert [event.job_id for event in two.events] == ["b"]
    assert one.replica_id == "replica"


async def test_steps_arrive_in_order_also_when_they_pile_up_while_redis_hangs(
    valkey: Redis, valkey_server: EmbeddedValkey
) -> None:
    outbox = Outbox(TokenWriter(valkey), "replica")
    job = hold("a")
    async with writing(outbox):
        outbox.put([said(job, 0)])
        assert await outbox.flush(5.0)
        os.kill(valkey_server.pid, signal.SIGSTOP)
        try:
            for index in range(1, 50):
                outbox.put([said(job, index)])
                await asyncio.sleep(0)
            assert not await outbox.flush(0.05)
        finally:
            os.kill(valkey_server.pid, signal.SIGCONT)
        assert await outbox.flush(5.0)
    steps = await heard(valkey)
    assert [event.index for step in steps for event in step.events] == list(range(50))
    assert len(steps) < 50


async def test_words_are_dropped_when_the_lease_ends_while_redis_hangs(
    valkey: Redis, valkey_server: EmbeddedValkey
) -> None:
    outbox = Outbox(TokenWriter(valkey), "replica")
    late, kept = hold("late", lease_s=0.2), hold("kept")
    async with writing(outbox):
        os.kill(valkey_server.pid, signal.SIGSTOP)
        try:
            # The first write hangs in a socket and cannot be called back; the next can.
            outbox.put([said(kept, 0)])
            await asyncio.sleep(0)
            outbox.put([said(late, 0), said(kept, 1)])
            await wait_until(lambda: not late.may_speak(lease_clock_s()), "the lease ends")
        finally:
            os.kill(valkey_server.pid, signal.SIGCONT)
        assert await outbox.flush(5.0)
    spoken = [event.job_id for step in await heard(valkey) for event in step.events]
    assert "late" not in spoken
    assert spoken.count("kept") >= 2


async def test_nothing_is_said_for_a_dropped_job(valkey: Redis) -> None:
    outbox = Outbox(TokenWriter(valkey), "replica")
    dropped, kept = hold("dropped"), hold("kept")
    outbox.put([said(dropped, 0), said(kept, 0)])
    dropped.dropped = True
    async with writing(outbox):
        assert await outbox.flush(5.0)
    (step,) = await heard(valkey)
    assert [event.job_id for event in step.events] == ["kept"]


async def test_a_full_outbox_names_the_jobs_that_can_no_longer_be_held(valkey: Redis) -> None:
    outbox = Outbox(TokenWriter(valkey), "replica", max_events=2)
    first, second = hold("first"), hold("second")
    assert outbox.put([said(first, 0), said(second, 0)]) == []
    assert outbox.put([said(first, 1), said(first, 2), said(second, 1)]) == [first, second]

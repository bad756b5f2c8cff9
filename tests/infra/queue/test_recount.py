"""An audit counts what is there, and sees when a counter lies."""

from __future__ import annotations

import pytest

from infra.connection import RedisClient
from infra.queue.queue import JobQueue, Lease, Offer, Progress, base_key
from infra.queue.recount import Balance, Difference, Recount
from infra.states import JobState

LONG_S = 60.0


@pytest.fixture
def queue(each_redis: RedisClient) -> JobQueue:
    return JobQueue(each_redis, "rev-audited")


async def offer(queue: JobQueue, job_id: str, *, durable: bool = False) -> None:
    await queue.offer(
        Offer(job_id, "gateway", b"spec", 10, 7, LONG_S, durable=durable), max_queued=100
    )


async def lease(queue: JobQueue) -> Lease:
    [taken] = await queue.lease("r1", 1, 1000, LONG_S)
    return taken


async def counted(queue: JobQueue) -> Recount:
    found = await queue.recount()
    assert found is not None
    return found


async def one_job_in_each_state(queue: JobQueue) -> None:
    """Orphaned, streaming, leased, queued and completed."""
    for number in range(5):
        await offer(queue, f"job-{number}")
    given_back = await lease(queue)
    await queue.give_back("r1", [Progress(given_back.job_id, 1, given_back.nonce, 0)])
    streaming = await lease(queue)
    await queue.renew("r1", [Progress(streaming.job_id, 1, streaming.nonce, 3)], LONG_S)
    await lease(queue)
    await queue.settle("job-4", "gateway", JobState.COMPLETED, "stop", 3)


async def test_a_queue_that_was_never_used_has_nothing_to_audit(queue: JobQueue) -> None:
    assert await queue.recount() is None


async def test_counters_say_what_is_there_in_every_state(queue: JobQueue) -> None:
    await one_job_in_each_state(queue)
    found = await counted(queue)
    assert found.balance == Balance(5, completed=1, failed=0, cancelled=0, expired=0, pending=4)
    assert found.differences == ()
    assert found.holds


async def test_a_durable_job_whose_consumer_is_forgotten_is_found(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await offer(queue, "job-1", durable=True)
    await each_redis.delete(f"{base_key('rev-audited')}:consumers")
    assert (await counted(queue)).holds


async def test_a_lost_acceptance_breaks_the_balance(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await one_job_in_each_state(queue)
    await each_redis.hincrby(f"{base_key('rev-audited')}:counts", "completed", -1)
    found = await counted(queue)
    assert found.balance.missing == 1
    assert not found.holds


@pytest.mark.parametrize("state", ["queued", "leased", "streaming", "orphaned"])
async def test_a_job_that_only_its_counter_knows_is_seen_though_the_sum_is_right(
    queue: JobQueue, each_redis: RedisClient, state: str
) -> None:
    await one_job_in_each_state(queue)
    counts = f"{base_key('rev-audited')}:counts"
    await each_redis.hincrby(counts, "accepted", 1)
    await each_redis.hincrby(counts, state, 1)
    found = await counted(queue)
    assert found.balance.holds
    assert found.differences == (Difference(state, 2, 1), Difference("pending", 5, 4))
    assert not found.holds


async def test_a_job_that_no_consumer_waits_for_any_more_is_seen(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await offer(queue, "job-1")
    await each_redis.delete(f"{base_key('rev-audited')}:of:gateway")
    assert (await counted(queue)).differences == (Difference("pending", 1, 0),)

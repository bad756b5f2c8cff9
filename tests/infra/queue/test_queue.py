"""The promises of the job queue, on a real server."""

from __future__ import annotations

import math

import pytest

from infra.connection import RedisClient
from infra.queue.queue import Adopted, Full, JobQueue, Lease, Offer, Progress, Taken, Totals
from infra.states import JobState
from tests.fixtures.waiting import eventually

TTL_S = 30.0


@pytest.fixture
def queue(each_redis: RedisClient) -> JobQueue:
    return JobQueue(each_redis, "rev-test")


def offer(
    job_id: str,
    *,
    consumer: str = "gateway",
    cost: int = 10,
    deadline_s: float = 60.0,
    tenant: str = "default",
    priority: int = 0,
    inbox: str = "shared",
    not_after_s: float = 0.0,
    durable: bool = False,
) -> Offer:
    return Offer(
        job_id=job_id,
        consumer=consumer,
        spec=f"spec of {job_id}".encode(),
        cost_tokens=cost,
        prompt_tokens=cost,
        deadline_s=deadline_s,
        tenant=tenant,
        priority=priority,
        inbox=inbox,
        not_after_s=not_after_s,
        durable=durable,
    )


def progress(lease: Lease, output_tokens: int) -> Progress:
    return Progress(lease.job_id, lease.attempt, lease.nonce, output_tokens)


async def lease_one(queue: JobQueue, replica: str = "r1", ttl_s: float = TTL_S) -> Lease:
    [lease] = await queue.lease(replica, 1, 10_000, ttl_s)
    return lease


async def state_counts(queue: JobQueue) -> tuple[int, int, int, int]:
    signals = await queue.signals()
    assert (await queue.balance()).holds
    return signals.queued, signals.leased, signals.streaming, signals.orphaned


async def test_a_job_goes_from_offer_to_settlement(queue: JobQueue) -> None:
    assert await queue.offer(offer("a"), 10) is JobState.QUEUED
    lease = await lease_one(queue)
    assert (lease.job_id, lease.attempt, lease.consumer) == ("a", 1, "gateway")
    assert lease.spec == b"spec of a"
    assert await state_counts(queue) == (0, 1, 0, 0)
    assert await queue.renew("r1", [progress(lease, 3)], TTL_S) == []
    assert await state_counts(queue) == (0, 0, 1, 0)
    assert await queue.settle("a", "gateway", JobState.COMPLETED, "stop", 5)
    assert await state_counts(queue) == (0, 0, 0, 0)
    balance = await queue.balance()
    assert (balance.accepted, balance.completed) == (1, 1)


async def test_offering_twice_accepts_once(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    await lease_one(queue)
    assert await queue.offer(offer("a"), 10) is JobState.LEASED
    assert (await queue.balance()).accepted == 1


async def test_a_full_queue_refuses_and_does_not_accept(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 1)
    assert await queue.offer(offer("b"), 1) == Full(retry_after_s=None)
    assert (await queue.balance()).accepted == 1


async def test_a_job_that_would_wait_past_its_deadline_is_refused_with_the_time_to_wait(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    """The rate is set as if ten jobs had been taken in ten seconds of waiting."""
    for job_id in ("a", "b", "c"):
        await queue.offer(offer(job_id), 10)
    rate = {"taken": 10, "busy_ms": 10_000}
    await each_redis.hset("tamer:{rev-test:0}:rate", mapping=rate)  # type: ignore[misc]
    assert await queue.offer(offer("d", deadline_s=1.5), 10) == Full(retry_after_s=2.5)
    assert await queue.offer(offer("d", deadline_s=5.0), 4) is JobState.QUEUED
    assert await queue.offer(offer("e", deadline_s=60.0), 4) == Full(retry_after_s=1.0)


async def test_the_rate_counts_only_time_in_which_jobs_waited(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await queue.offer(offer("a"), 10)
    await each_redis.hincrby("tamer:{rev-test:0}:rate", "at_ms", -2000)  # type: ignore[misc]
    await lease_one(queue)
    rate = await each_redis.hgetall("tamer:{rev-test:0}:rate")  # type: ignore[misc]
    assert float(rate[b"taken"]) == 1.0
    assert 2000 <= float(rate[b"busy_ms"]) < 5000
    await queue.offer(offer("b"), 10)
    await lease_one(queue)
    rate = await each_redis.hgetall("tamer:{rev-test:0}:rate")  # type: ignore[misc]
    assert float(rate[b"taken"]) > 1.9
    assert float(rate[b"busy_ms"]) < 5000


async def test_a_job_is_settled_once(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    assert await queue.settle("a", "gateway", JobState.CANCELLED, "disconnect", 0)
    assert not await queue.settle("a", "gateway", JobState.COMPLETED, "stop", 9)
    balance = await queue.balance()
    assert (balance.cancelled, balance.completed) == (1, 0)


async def test_only_its_consumer_settles_a_job(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    assert not await queue.settle("a", "stranger", JobState.CANCELLED, "", 0)
    assert (await queue.signals()).queued == 1


async def test_settling_wants_a_final_state(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="settled"):
        await queue.settle("a", "gateway", JobState.QUEUED, "", 0)


async def test_the_prompt_is_gone_after_settlement(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await queue.offer(offer("a"), 10)
    await queue.settle("a", "gateway", JobState.CANCELLED, "", 0)
    assert [key async for key in each_redis.scan_iter("*:spec:*")] == []


async def test_an_expired_lease_makes_an_orphan_for_its_consumer(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    await lease_one(queue, ttl_s=0.0)
    attended = await queue.attend("gateway", TTL_S)
    assert [(each.job_id, each.attempt) for each in attended.orphans] == [("a", 1)]
    assert await state_counts(queue) == (0, 0, 0, 1)
    assert (await queue.attend("gateway", TTL_S)).orphans == attended.orphans
    assert (await queue.attend("another", TTL_S)).orphans == []


async def test_a_reoffer_is_the_next_attempt_with_the_new_spec(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    await lease_one(queue, ttl_s=0.0)
    await queue.attend("gateway", TTL_S)
    assert await queue.reoffer("a", "gateway", 1, b"more", 4) == 2
    assert await queue.reoffer("a", "gateway", 1, b"more", 4) == 2, "a repeated call is harmless"
    lease = await lease_one(queue, "r2")
    assert (lease.attempt, lease.spec) == (2, b"more")
    assert (await queue.attend("gateway", TTL_S)).orphans == []


async def test_an_old_attempt_cannot_renew(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    old = await lease_one(queue, ttl_s=0.0)
    await queue.attend("gateway", TTL_S)
    await queue.reoffer("a", "gateway", 1, b"", 4)
    new = await lease_one(queue, "r1")
    assert await queue.renew("r1", [progress(old, 1)], TTL_S) == ["a"]
    assert await queue.renew("r2", [progress(new, 1)], TTL_S) == ["a"], "another replica's"
    assert await queue.renew("r1", [progress(new, 1)], TTL_S) == []


async def test_an_expired_lease_cannot_be_renewed_even_if_nobody_looked(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    lease = await lease_one(queue, ttl_s=0.0)
    assert await queue.renew("r1", [progress(lease, 1)], TTL_S) == ["a"]
    assert await state_counts(queue) == (0, 0, 0, 1)


async def test_a_consumer_may_end_a_running_attempt(queue: JobQueue) -> None:
    """A gap in the stream: the attempt is fenced, told to stop, and the job queued again."""
    await queue.offer(offer("a"), 10)
    lease = await lease_one(queue)
    assert await queue.reoffer("a", "gateway", 1, b"", 4) == 2
    assert await queue.wait("r1", 1.0) == ["a"]
    assert await queue.renew("r1", [progress(lease, 1)], TTL_S) == ["a"]


async def test_too_many_attempts_fail_the_job(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    await lease_one(queue, ttl_s=0.0)
    await queue.attend("gateway", TTL_S)
    assert await queue.reoffer("a", "gateway", 1, b"", 1) is None
    balance = await queue.balance()
    assert (balance.failed, balance.pending, balance.holds) == (1, 0, True)


async def test_giving_back_makes_orphans_at_once(queue: JobQueue) -> None:
    await queue.offer(offer("a"), 10)
    lease = await lease_one(queue)
    await queue.give_back("r1", [progress(lease, 2)])
    assert [each.job_id for each in (await queue.attend("gateway", TTL_S)).orphans] == ["a"]


async def test_a_lost_replica_is_dropped_with_leases_and_inbox(queue: JobQueue) -> None:
    await queue.offer(offer("held"), 10)
    await lease_one(queue, "r1")
    await queue.offer(offer("liked", inbox="r1", not_after_s=60), 10)
    assert await queue.lease("r2", 5, 10_000, TTL_S) == []
    assert await queue.drop_replica("r1") == 1
    assert [each.job_id for each in (await queue.attend("gateway", TTL_S)).orphans] == ["held"]
    assert (await lease_one(queue, "r2")).job_id == "liked"


async def test_an_inbox_is_a_preference_until_its_time_is_over(queue: JobQueue) -> None:
    await queue.offer(offer("shared"), 10)
    await queue.offer(offer("mine", inbox="r1", not_after_s=60), 10)
    await queue.offer(offer("soon", inbox="r1", not_after_s=0.001), 10)
    assert (await lease_one(queue, "r1")).job_id == "mine"
    taken: set[str] = set()

    async def both_taken() -> bool:
        taken.update(each.job_id for each in await queue.lease("r2", 5, 10_000, TTL_S))
        return taken == {"shared", "soon"}

    await eventually(both_taken)


async def test_a_job_that_waits_too_long_expires_and_its_consumer_learns(queue: JobQueue) -> None:
    await queue.offer(offer("a", deadline_s=0.0), 10)
    assert (await queue.attend("gateway", TTL_S)).ended == {"a": "expired: queue_limit"}
    assert (await queue.attend("gateway", TTL_S)).ended != {}, "told until acknowledged"
    assert (await queue.attend("gateway", TTL_S, ["a"])).ended == {}
    assert (await queue.balance()).expired == 1


async def test_a_job_that_redis_has_lost_is_told_to_whoever_believes_in_it(
    queue: JobQueue,
) -> None:
    await queue.offer(offer("kept"), 10)
    attended = await queue.attend("gateway", TTL_S, ["settled long ago"], ["kept", "lost"])
    assert attended.unknown == ["lost"]


async def test_a_silent_consumer_loses_interactive_jobs_and_keeps_durable_ones(
    queue: JobQueue,
) -> None:
    await queue.attend("gateway", TTL_S)
    await queue.offer(offer("interactive"), 10)
    await queue.offer(offer("durable", durable=True), 10)
    lease = await lease_one(queue)
    assert lease.job_id in {"interactive", "durable"}
    await queue.attend("gateway", 0.0)
    await queue.sweep()
    balance = await queue.balance()
    assert (balance.failed, balance.pending, balance.holds) == (1, 1, True)
    back = await queue.attend("gateway", TTL_S)
    assert back.ended == {"interactive": "failed: consumer_lost"}


async def test_a_durable_job_goes_to_the_consumer_with_the_newest_claim(queue: JobQueue) -> None:
    await queue.offer(offer("a", durable=True), 10)
    lease = await lease_one(queue, "r1")
    adopted = await queue.adopt("a", "second", claim=2)
    assert adopted == Adopted(JobState.ORPHANED, 1, "")
    assert await queue.adopt("a", "second", claim=2) == adopted, "asked again"
    assert await queue.wait("r1", 1.0) == ["a"], "what runs speaks to the consumer before"
    assert await queue.renew("r1", [Progress("a", 1, lease.nonce, 3)], TTL_S) == ["a"]
    for late in (1, 2):
        with pytest.raises(Taken):
            await queue.adopt("a", "third", claim=late)
    assert not await queue.settle("a", "gateway", JobState.COMPLETED, "", 3)
    assert await queue.reoffer("a", "gateway", 1, b"spec", 3) is None
    assert await queue.reoffer("a", "second", 1, b"spec", 3) == 2
    again = await lease_one(queue, "r1")
    assert again.consumer == "second"
    assert await queue.settle("a", "second", JobState.COMPLETED, "", 3)
    assert (await queue.balance()).holds


async def adopt_again(queue: JobQueue, attempt: int) -> int | None:
    """An attempt runs until another gateway takes the job over."""
    await lease_one(queue)
    consumer = f"gateway-{attempt + 1}"
    adopted = await queue.adopt("a", consumer, claim=attempt + 1)
    assert adopted == Adopted(JobState.ORPHANED, attempt, "")
    return await queue.reoffer("a", consumer, attempt, b"spec", 2)


async def test_an_offer_that_comes_after_its_end_makes_no_job(queue: JobQueue) -> None:
    """A server that was stopped may run an offer after what was sent on a later connection."""
    assert not await queue.settle("a", "gateway", JobState.CANCELLED, "never acknowledged", 0)
    assert await queue.offer(offer("a", durable=True), 10) is JobState.CANCELLED
    assert await queue.lease("r1", 1, 10_000, TTL_S) == []
    balance = await queue.balance()
    assert (balance.accepted, balance.pending, balance.holds) == (0, 0, True)


async def test_gateways_that_come_and_go_make_no_dead_letter(queue: JobQueue) -> None:
    await queue.offer(offer("a", durable=True), 10)
    for attempt in range(1, 6):
        assert await adopt_again(queue, attempt) == attempt + 1
    for attempt in (6, 7):  # what replicas lose counts as ever
        await lease_one(queue)
        following = await queue.reoffer("a", "gateway-6", attempt, b"spec", 2)
        assert following == (7 if attempt == 6 else None)
    assert (await queue.balance()).failed == 1


async def test_a_job_that_ends_its_gateways_is_a_dead_letter_in_the_end(queue: JobQueue) -> None:
    await queue.offer(offer("a", durable=True), 10)
    attempt = 1
    while await adopt_again(queue, attempt) is not None:
        attempt += 1
        assert attempt < 100
    assert [letter.attempts for letter in await queue.dead_letters()] == [attempt]


async def test_a_queued_job_is_adopted_where_it_stands(queue: JobQueue) -> None:
    await queue.offer(offer("a", durable=True), 10)
    assert await queue.adopt("a", "second", claim=2) == Adopted(JobState.QUEUED, 1, "")
    assert (await lease_one(queue)).consumer == "second"


async def test_who_adopts_learns_of_an_end_and_of_a_job_that_nobody_knows(queue: JobQueue) -> None:
    await queue.offer(offer("a", durable=True), 10)
    await queue.abandon("deployment_deleted")
    ended = await queue.adopt("a", "second", claim=2)
    assert ended == Adopted(JobState.FAILED, 1, "deployment_deleted")
    assert await queue.adopt("nobody", "second", claim=2) is None


async def test_an_abandoned_queue_ends_durable_jobs_of_consumers_that_are_gone(
    queue: JobQueue,
) -> None:
    await queue.attend("gateway", 0.0)
    await queue.offer(offer("a", durable=True), 10)
    await queue.sweep()
    assert (await queue.balance()).pending == 1
    assert await queue.abandon("deployment_deleted") == 1
    assert (await queue.balance()).failed == 1


async def test_an_outage_of_the_server_is_not_the_silence_of_consumers(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await queue.attend("gateway", 10.0)
    await queue.offer(offer("a"), 10)
    minute_ms = 60_000
    await each_redis.hincrby("tamer:{rev-test:0}:counts", "swept_ms", -minute_ms)
    await each_redis.zincrby("tamer:{rev-test:0}:consumers", -minute_ms, "gateway")
    await queue.sweep()
    assert await state_counts(queue) == (1, 0, 0, 0)


async def test_an_abandoned_queue_ends_what_waits_and_what_runs(queue: JobQueue) -> None:
    await queue.offer(offer("runs"), 10)
    await lease_one(queue)
    await queue.offer(offer("waits"), 10)
    assert await queue.abandon("deployment_deleted") == 2
    assert await state_counts(queue) == (0, 0, 0, 0)
    assert await queue.wait("r1", 1.0) == ["runs"]
    ended = (await queue.attend("gateway", TTL_S)).ended
    assert ended == dict.fromkeys(("runs", "waits"), "failed: deployment_deleted")


async def test_a_head_job_that_does_not_fit_holds_its_place(queue: JobQueue) -> None:
    await queue.offer(offer("big", cost=100), 10)
    await queue.offer(offer("small", cost=1), 10)
    assert await queue.lease("r1", 5, 50, TTL_S) == []
    assert [each.job_id for each in await queue.lease("r1", 5, 101, TTL_S)] == ["big", "small"]


async def test_the_bell_rings_for_work_and_for_stops(queue: JobQueue) -> None:
    assert await queue.lease("r1", 5, 100, TTL_S) == []
    await queue.offer(offer("a"), 10)
    assert await queue.wait("r1", 5.0) == []
    await lease_one(queue, "r1")
    await queue.settle("a", "gateway", JobState.CANCELLED, "disconnect", 0)
    assert await queue.wait("r1", 5.0) == ["a"]


async def test_no_offer_is_missed_between_looking_and_waiting(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await queue.lease("r1", 5, 100, TTL_S)
    await queue.offer(offer("a"), 10)
    assert await each_redis.llen("tamer:{rev-test:0}:bell:r1") == 1


async def test_signals_tell_waiting_work_and_idleness(queue: JobQueue) -> None:
    assert (await queue.signals()).idle_s == math.inf
    await queue.offer(offer("a", cost=7), 10)
    signals = await queue.signals()
    assert (signals.queued, signals.queued_prompt_tokens, signals.pending) == (1, 7, 1)
    assert signals.idle_s < 60


async def test_signals_count_arrivals_once_and_the_outputs_of_what_ran(queue: JobQueue) -> None:
    # Jobs of one millisecond are taken by name, so these are taken in this order at any speed.
    for job in ("a-ran", "b-again", "c-never"):
        await queue.offer(offer(job, cost=7), 10)
    await queue.offer(offer("a-ran", cost=7), 10)
    await queue.lease("r1", 2, 100, TTL_S)
    before = await queue.signals()
    await queue.drop_replica("r1")
    assert await queue.reoffer("b-again", "gateway", 1, b"spec", 3) == 2
    await queue.settle("a-ran", "gateway", JobState.COMPLETED, "", 5)
    await queue.settle("a-ran", "gateway", JobState.COMPLETED, "", 5)
    await queue.settle("c-never", "gateway", JobState.CANCELLED, "disconnect", 0)
    after = await queue.signals()
    assert before.totals == Totals(accepted_jobs=3, accepted_prompt_tokens=21)
    assert after.totals == Totals(3, 21, ended_jobs=1, ended_output_tokens=5)
    assert after.at_s >= before.at_s > 1e9


async def test_the_functions_are_loaded_again_after_the_server_forgot_them(
    queue: JobQueue, each_redis: RedisClient
) -> None:
    await queue.offer(offer("a"), 10)
    await each_redis.function_flush()
    assert await queue.offer(offer("b"), 10) is JobState.QUEUED

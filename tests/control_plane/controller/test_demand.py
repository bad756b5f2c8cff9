"""What one controller hears of queues, on a real one, by a clock of its own."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway

from control_plane.controller.demand import DemandWatch
from infra.queue.queue import JobQueue, Offer
from infra.states import JobState

REVISION = "rev-demand"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def offer(queue: JobQueue, job_id: str, prompt_tokens: int) -> None:
    cost = prompt_tokens + 10
    await queue.offer(Offer(job_id, "gateway", b"spec", cost, prompt_tokens, 600.0), 10_000)


async def test_arrivals_are_told_in_tokens_of_the_jobs_own_sizes(valkey: Redis) -> None:
    clock, queue = Clock(), JobQueue(valkey, REVISION)
    watch = DemandWatch(valkey, clock)
    for second in range(61):
        clock.now_s = 1000.0 + second
        for number in range(2):
            job_id = f"job-{second}-{number}"
            await offer(queue, job_id, 100)
            await queue.lease("r", 1, 10**6, 600.0)
            await queue.settle(job_id, "gateway", JobState.COMPLETED, "stop", 30)
        await watch.signals([REVISION])
        demand = watch.demand("dep", [REVISION], 0.25, 60.0)
    assert demand is not None
    assert demand.load is not None
    load = demand.load
    assert (load.jobs, load.sudden_jobs) == (120, 20)
    assert load.arriving.prefill == pytest.approx(2 * 100 * 0.75)
    assert load.arriving.decode == pytest.approx(2 * 30)
    assert (load.waiting.prefill, load.waiting.decode) == (0, 0)


async def test_what_waits_is_told_in_tokens_and_a_moment_is_watched_first(valkey: Redis) -> None:
    clock, queue = Clock(), JobQueue(valkey, REVISION)
    watch = DemandWatch(valkey, clock)
    await watch.signals([REVISION])
    first = watch.demand("dep", [REVISION], 0.0, 60.0)
    assert first is not None
    assert first.load is None
    for number in range(3):
        await offer(queue, f"job-{number}", 50)
    clock.now_s += 20
    await watch.signals([REVISION])
    demand = watch.demand("dep", [REVISION], 0.0, 60.0)
    assert demand is not None
    assert demand.load is not None
    assert demand.load.waiting.prefill == 150
    assert demand.load.waiting.decode == 3 * 256, "no job has ended yet"
    assert demand.load.jobs == 3


async def test_a_queue_that_does_not_answer_leaves_what_it_told_with_its_age(
    valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    watch = DemandWatch(valkey, clock)
    assert watch.demand("dep", [REVISION], 0.0, 60.0) is None
    await watch.signals([REVISION])

    async def away(*_: object, **__: object) -> None:
        raise RedisAway("away")

    monkeypatch.setattr(valkey.connection_pool, "get_connection", away)
    clock.now_s += 7
    assert await watch.signals([REVISION]) == {}
    demand = watch.demand("dep", [REVISION], 0.0, 60.0)
    assert demand is not None
    assert (demand.heard, demand.age_s) == (False, 7.0)


async def test_a_queue_that_has_lost_its_data_brings_no_arrivals(valkey: Redis) -> None:
    clock, queue = Clock(), JobQueue(valkey, REVISION)
    watch = DemandWatch(valkey, clock)
    for number in range(5):
        await offer(queue, f"job-{number}", 50)
    await watch.signals([REVISION])
    watch.demand("dep", [REVISION], 0.0, 60.0)
    await valkey.flushall()
    await offer(queue, "again", 50)
    clock.now_s += 20
    await watch.signals([REVISION])
    demand = watch.demand("dep", [REVISION], 0.0, 60.0)
    assert demand is not None
    assert demand.load is not None
    assert (demand.pending_jobs, demand.load.jobs) == (1, 0)


async def test_a_queue_that_has_lost_its_data_was_not_idle_for_ever(valkey: Redis) -> None:
    """Else what runs would be taken away in the middle of its work."""
    clock, queue = Clock(), JobQueue(valkey, REVISION)
    watch = DemandWatch(valkey, clock)

    async def idle_s() -> float:
        await watch.signals([REVISION])
        demand = watch.demand("dep", [REVISION], 0.0, 60.0)
        assert demand is not None
        return demand.idle_s

    assert await idle_s() == float("inf"), "never used"
    await offer(queue, "job", 50)
    await queue.settle("job", "gateway", JobState.COMPLETED, "stop", 30)
    assert await idle_s() < 10
    await valkey.flushall()
    for passed_s in (20, 40):
        clock.now_s += 20
        assert passed_s <= await idle_s() < passed_s + 10

"""Thousands of jobs go out in the order of `infra/ordering.py`, fairly; none of them starves."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from infra import ordering
from infra.function_library import FunctionLibrary
from infra.ordering import OUTPUT_WEIGHT, PROMPT_WEIGHT, Waiting
from infra.queue.queue import SHARED, JobQueue, Lease, Offer, Progress, base_key
from infra.states import JobState

T = TypeVar("T")

REVISION = "rev-scale"
JOBS = 5000
TENANTS = ("ada", "bob", "cyd", "dan", "eve")
AGEING_MS = 40
"""Instead of a minute, so that jobs of a test that takes a second overtake one another."""
AT_ONCE = 50
CONSUMER = "gw"


class QuicklyAgeing(FunctionLibrary):
    """The queue's own functions, but for one constant."""

    def __init__(self) -> None:
        super().__init__("infra.queue")
        constant = f"AGEING_MS, CLASSES = {ordering.AGEING_MS}, {ordering.CLASSES}"
        assert constant in self._code
        ours = self._name + "_quickly"
        self._code = self._code.replace(self._name, ours).replace(
            constant, f"AGEING_MS, CLASSES = {AGEING_MS}, {ordering.CLASSES}"
        )
        self._name = ours


@pytest.fixture
def queue(valkey: Redis, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    monkeypatch.setattr("infra.queue.queue.call", QuicklyAgeing().call)
    monkeypatch.setattr(ordering, "AGEING_MS", AGEING_MS)
    return JobQueue(valkey, REVISION)


@dataclass
class Order:
    """What `ordering` says should happen. It is asked about the head of each lane only, which are
    the only jobs that it can choose."""

    lanes: dict[tuple[str, int, str], list[Waiting]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By inbox, class and tenant, in order of position."""
    served: dict[str, int] = field(default_factory=dict)

    def add(self, job: Waiting, inbox: str) -> None:
        waiting = {tenant for (_, _, tenant), lane in self.lanes.items() if lane}
        if job.tenant not in waiting:
            self.served[job.tenant] = ordering.counter_on_return(
                self.served.get(job.tenant, 0), [self.served.get(name, 0) for name in waiting]
            )
        insort(
            self.lanes[inbox, job.priority, job.tenant],
            job,
            key=lambda each: (each.position, each.job_id),
        )

    def lease(self, replica: str, max_jobs: int, max_tokens: int) -> list[Waiting]:
        taken: list[Waiting] = []
        while len(taken) < max_jobs:
            heads = self.heads(replica) or self.heads(SHARED)
            job = ordering.foremost(heads, self.served)
            if job is None or job.cost_tokens > max_tokens:
                break
            for inbox in (replica, SHARED):
                lane = self.lanes[inbox, job.priority, job.tenant]
                if lane and lane[0] is job:
                    lane.pop(0)
                    break
            max_tokens -= job.cost_tokens
            self.charge(job.tenant, ordering.charge(job.cost_tokens, 0))
            taken.append(job)
        return taken

    def charge(self, tenant: str, tokens: int) -> None:
        self.served[tenant] = self.served.get(tenant, 0) + tokens

    def __bool__(self) -> bool:
        return any(self.lanes.values())

    def heads(self, inbox: str) -> list[Waiting]:
        return [lane[0] for (at, _, _), lane in self.lanes.items() if at == inbox and lane]


async def _in_parallel(calls: Iterable[Awaitable[T]]) -> list[T]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[T]) -> T:
        async with places:
            return await call

    return list(await asyncio.gather(*map(one, calls)))


def _offer(job_id: str, tenant: str, priority: int, tokens: int, **where: Any) -> Offer:
    return Offer(job_id, CONSUMER, b"", tokens, tokens, 600, tenant, priority, **where)


async def _offered(redis: Redis, queue: JobQueue, offers: list[Offer]) -> list[Waiting]:
    """The jobs of these offers, as the queue has taken them."""
    states = await _in_parallel(queue.offer(each, 2 * JOBS) for each in offers)
    assert set(states) == {JobState.QUEUED}
    async with redis.pipeline(transaction=False) as pipe:
        for each in offers:
            pipe.hget(f"{base_key(REVISION)}:job:{each.job_id}", "accepted_ms")
        accepted = await pipe.execute()
    return [
        Waiting(each.job_id, each.tenant, each.priority, int(at), each.cost_tokens)
        for each, at in zip(offers, accepted, strict=True)
    ]


def _places(random: Random) -> dict[str, Any]:
    """Shared, in an inbox for good, or in one for a moment."""
    return random.choice(
        ({}, {}, {"inbox": "r1", "not_after_s": 600}, {"inbox": "r2", "not_after_s": 0.001})
    )


async def test_thousands_of_jobs_go_out_in_the_order_of_the_specification(
    valkey: Redis, queue: JobQueue
) -> None:
    random, order = Random("order"), Order()
    await queue.attend(CONSUMER, 600)
    offers = [
        _offer(
            f"job-{number:05d}",
            random.choice(TENANTS),
            random.randrange(ordering.CLASSES),
            random.randint(1, 40),
            **_places(random),
        )
        for number in range(JOBS)
    ]
    for job, offer in zip(await _offered(valkey, queue, offers), offers, strict=True):
        order.add(job, "r1" if offer.inbox == "r1" else SHARED)
    for _ in range(JOBS // 500):
        await queue.sweep()  # what was r2's for a moment is everybody's now
    outputs: dict[str, int] = defaultdict(int)
    taken: list[Waiting] = []
    while order:
        replica = random.choice(("r1", "r3"))
        max_jobs, max_tokens = random.randint(1, 40), random.randint(40, 800)
        leases = await queue.lease(replica, max_jobs, max_tokens, 600)
        jobs = order.lease(replica, max_jobs, max_tokens)
        assert [each.job_id for each in leases] == [each.job_id for each in jobs]
        taken += jobs
        for lease, job in zip(leases, jobs, strict=True):
            output = outputs[job.job_id] + random.randint(0, 30)
            order.charge(job.tenant, ordering.charge(0, output - outputs[job.job_id]))
            outputs[job.job_id] = output
            if lease.attempt == 1 and random.random() < 0.05:
                progress = Progress(lease.job_id, lease.attempt, lease.nonce, output)
                await queue.give_back(replica, [progress])
                assert await queue.reoffer(lease.job_id, CONSUMER, 1, b"", 4) == 2
                order.add(job, SHARED)
            else:
                await queue.settle(lease.job_id, CONSUMER, JobState.COMPLETED, "", output)
    assert len(taken) > JOBS, "some went out twice"
    assert [each.priority for each in taken] != sorted(each.priority for each in taken)
    balance = await queue.balance()
    assert (balance.accepted, balance.completed, balance.pending) == (JOBS, JOBS, 0)


def test_the_heads_of_the_lanes_are_enough_to_find_the_foremost_job() -> None:
    random, order = Random("heads"), Order()
    for number in range(2000):
        order.add(
            Waiting(
                f"job-{number}",
                random.choice(TENANTS),
                random.randrange(ordering.CLASSES),
                random.randrange(100_000),
                1,
            ),
            SHARED,
        )
        order.charge(random.choice(TENANTS), random.randrange(100))
        if number % 20 == 0:
            everything = [job for lane in order.lanes.values() for job in lane]
            assert ordering.foremost(everything, order.served) == ordering.foremost(
                order.heads(SHARED), order.served
            )


async def test_two_tenants_who_always_wait_are_served_within_the_bound_of_vtc(
    valkey: Redis, queue: JobQueue
) -> None:
    """Sheng et al., OSDI 2024, theorem 4.4: the gap is at most 2 max(w_p L_input, w_q M)."""
    random, running_at_once, prompt_limit, output_limit = Random("fair"), 8, 40, 32
    bound = 2 * max(PROMPT_WEIGHT * prompt_limit, OUTPUT_WEIGHT * running_at_once * output_limit)
    await queue.attend(CONSUMER, 600)
    large = [_offer(f"a-{n}", "ada", 0, random.randint(30, prompt_limit)) for n in range(1500)]
    small = [_offer(f"b-{n}", "bob", 0, random.randint(1, 10)) for n in range(1500)]
    await _offered(valkey, queue, [*large, *small])
    lengths = {"a": output_limit, "b": 4}
    running: dict[str, tuple[Lease, int]] = {}
    gaps = []
    for _ in range(600):
        leases = await queue.lease("r1", running_at_once - len(running), 1 << 30, 600)
        running |= {lease.job_id: (lease, 0) for lease in leases}
        running = {job: (lease, output + 1) for job, (lease, output) in running.items()}
        await queue.renew(
            "r1",
            [Progress(job, 1, lease.nonce, output) for job, (lease, output) in running.items()],
            600,
        )
        for job, (_, output) in list(running.items()):
            if output >= lengths[job[0]]:
                del running[job]
                await queue.settle(job, CONSUMER, JobState.COMPLETED, "", output)
        served: Any = await valkey.hgetall(f"{base_key(REVISION)}:served")  # type: ignore[misc]
        gaps.append(abs(int(served.get(b"ada", 0)) - int(served.get(b"bob", 0))))
    waiting: Any = await valkey.hgetall(f"{base_key(REVISION)}:waiting_of")  # type: ignore[misc]
    assert set(waiting) == {b"ada", b"bob"}, "both waited all the time"
    assert max(gaps) <= bound


async def test_the_lowest_class_is_not_starved_by_a_flood_of_the_first(
    valkey: Redis, queue: JobQueue
) -> None:
    await queue.attend(CONSUMER, 600)
    [low] = await _offered(valkey, queue, [_offer("low", "ada", ordering.CLASSES - 1, 1)])
    accepted: dict[str, Waiting] = {}
    taken: list[str] = []
    while "low" not in taken:
        flood = [_offer(f"high-{len(accepted) + n:05d}", "bob", 0, 1) for n in range(40)]
        accepted |= {job.job_id: job for job in await _offered(valkey, queue, flood)}
        taken += [lease.job_id for lease in await queue.lease("r1", 20, 1 << 30, 600)]
        assert len(taken) < JOBS, "it never comes"
    before = taken[: taken.index("low")]
    assert before, "the first class goes first at first"
    assert all(accepted[job].position <= low.position for job in before)
    assert len(accepted) > len(before), "the flood still waits"

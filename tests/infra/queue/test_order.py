"""The Lua hands out jobs in exactly the order of `infra/ordering.py`."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from infra import ordering
from infra.connection import connect
from infra.embedded import EmbeddedValkey
from infra.queue.queue import JobQueue, Offer

_BASE = "tamer:{rev-order:0}"

jobs = st.tuples(
    st.sampled_from(["ada", "bob", "cyd"]),
    st.integers(0, ordering.CLASSES - 1),
    st.integers(1, 40),
    st.sampled_from(["shared", "shared", "r1"]),
)
actions = st.one_of(
    st.tuples(st.just("offer"), jobs),
    st.tuples(st.just("lease"), st.tuples(st.integers(1, 3), st.integers(1, 120))),
)


class Model:
    """What `ordering` says should happen."""

    def __init__(self) -> None:
        self.inbox: list[ordering.Waiting] = []
        self.shared: list[ordering.Waiting] = []
        self.served: dict[str, int] = {}
        self.prompts: dict[str, int] = {}

    def offer(self, job: ordering.Waiting, inbox: str) -> None:
        waiting = {each.tenant for each in (*self.inbox, *self.shared)}
        if job.tenant not in waiting:
            self.served[job.tenant] = ordering.counter_on_return(
                self.served.get(job.tenant, 0), [self.served.get(name, 0) for name in waiting]
            )
        (self.inbox if inbox == "r1" else self.shared).append(job)
        self.prompts[job.job_id] = job.cost_tokens

    def lease(self, max_jobs: int, max_tokens: int) -> list[str]:
        taken = ordering.next_jobs(
            self.inbox, self.shared, self.served, self.prompts, max_jobs, max_tokens
        )
        for job in taken:
            (self.inbox if job in self.inbox else self.shared).remove(job)
            self.served[job.tenant] = self.served.get(job.tenant, 0) + ordering.charge(
                self.prompts[job.job_id], 0
            )
        return [job.job_id for job in taken]


async def _play(redis: Redis, script: list[tuple[str, Any]]) -> None:
    await redis.flushall()
    queue, model = JobQueue(redis, "rev-order"), Model()
    for number, (action, detail) in enumerate(script):
        if action == "offer":
            tenant, priority, cost, inbox = detail
            job_id = f"job-{number:03d}"
            await queue.offer(
                Offer(job_id, "gw", b"", cost, cost, 600, tenant, priority, inbox=inbox,
                      not_after_s=600), 1000,
            )  # fmt: skip
            accepted: Any = await redis.hget(f"{_BASE}:job:{job_id}", "accepted_ms")
            model.offer(ordering.Waiting(job_id, tenant, priority, int(accepted), cost), inbox)
        else:
            expected = model.lease(*detail)
            leases = await queue.lease("r1", *detail, 600)
            assert [each.job_id for each in leases] == expected


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(actions, max_size=40))
def test_the_queue_agrees_with_the_pure_order(
    valkey_server: EmbeddedValkey, script: list[tuple[str, Any]]
) -> None:
    async def run() -> None:
        redis = connect(valkey_server.url)
        try:
            await _play(redis, script)
        finally:
            await redis.aclose()

    asyncio.run(run())

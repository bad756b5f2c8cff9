"""Tokens are counted once a job, for the tenant and the hour in which it ended."""

from __future__ import annotations

from redis.asyncio import Redis

from infra.queue.queue import JobQueue, Offer
from infra.queue.usage import forget_usage, read_usage
from infra.states import JobState
from infra.wire import JobSpec, Sampling, encode

REVISION = "rev-usage"


async def _offer(queue: JobQueue, job_id: str, tenant: str) -> None:
    spec = JobSpec(job_id, job_id, [1, 2, 3], Sampling(max_tokens=4))
    offer = Offer(job_id, "gateway", encode(spec), 7, 3, deadline_s=60.0, tenant=tenant)
    await queue.attend("gateway", 60.0)
    assert await queue.offer(offer, 100) is JobState.QUEUED


async def test_each_job_that_ran_counts_once_and_one_that_never_did_not_at_all(
    valkey: Redis,
) -> None:
    queue = JobQueue(valkey, REVISION)
    for job_id, tenant in (("a", "acme"), ("b", "acme"), ("c", "team:x"), ("d", "acme")):
        await _offer(queue, job_id, tenant)
    await queue.lease("rep-1", 3, 1000, 30.0)
    for job_id in ("a", "b", "c", "a"):
        await queue.settle(job_id, "gateway", JobState.COMPLETED, "stop", 5)
    await queue.settle("d", "gateway", JobState.CANCELLED, "cancelled", 0)
    found = (await read_usage(valkey, [REVISION]))[REVISION]
    ran = {(each.tenant, each.prompt_tokens, each.output_tokens, each.jobs) for each in found}
    assert sum(jobs for _, _, _, jobs in ran) == 3
    assert ("team:x", 3, 5, 1) in ran or ("acme", 3, 5, 1) in ran
    assert {each.epoch for each in found} != {""}
    [hour] = {each.hour for each in found}
    await forget_usage(valkey, {REVISION: hour})
    assert (await read_usage(valkey, [REVISION]))[REVISION] == found, "its hour is not over"
    await forget_usage(valkey, {REVISION: hour + 3600})
    assert (await read_usage(valkey, [REVISION]))[REVISION] == []

"""A durable request that failed, begun again from what its log holds."""

from __future__ import annotations

import msgspec

from infra.connection import RedisClient
from infra.durable.log import OPEN, DurableLog
from infra.durable.owners import Owners
from infra.states import JobState


class NotRetried(Exception):
    """The request cannot be begun again; the message says why."""


async def retry(jobs: RedisClient, keep_s: float, request_id: str) -> None:
    """Let any gateway go on with a failed request: what was delivered stays, the rest is generated
    as new jobs. Doing it twice is doing it once.

    Raises:
        NotRetried: it is not there any more, has not failed, or its prompts were dropped.
    """
    log = DurableLog(jobs, keep_s)
    found = await log.find(request_id)
    if found is None:
        raise NotRetried(f"request {request_id} is not kept any more")
    if found.status == OPEN and not found.owner:
        # Begun again before, by somebody who may not have come as far as to say so.
        await Owners(jobs).offer(request_id)
        return
    if found.status != JobState.FAILED:
        raise NotRetried(f"request {request_id} has not failed: it is {found.status}")
    request = found.request
    if not request.jobs:
        raise NotRetried(f"request {request_id} failed for a reason that a retry does not change")
    # The queue knows the old ids as jobs that have ended.
    jobs_again = [
        msgspec.structs.replace(job, job_id=f"{request_id}.{job.choice}-{found.claim + 1}")
        for job in request.jobs
    ]
    ends = [
        number
        for number, entry in await log.all_entries(request_id)
        if entry.outcome and entry.outcome != JobState.COMPLETED
    ]
    await log.reopen(msgspec.structs.replace(request, jobs=jobs_again), ends)
    await Owners(jobs).offer(request_id)


def request_of(job_id: str) -> str:
    """The durable request that a job belongs to, by the names that gateways give to jobs."""
    return job_id.rpartition(".")[0]

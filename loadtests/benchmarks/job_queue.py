"""Jobs per second through `infra/queue`: offered, leased and settled on a real Valkey."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from random import Random

from infra.connection import connect
from infra.embedded import EmbeddedValkey
from infra.queue.queue import JobQueue, Offer
from infra.states import JobState
from infra.wire import JobSpec, Sampling, encode
from loadtests.traffic.prompts import token_ids

BATCH = 32
PROMPT_TOKENS = 128
_CONSUMER = "bench-consumer"
_REPLICA = "bench-replica"
_LEASE_S = 60.0


class QueueFailed(RuntimeError):
    """A job was refused or lost: the figure would mean nothing."""


def jobs_per_s(jobs: int, rounds: int) -> list[float]:
    """One figure a round. Server and client inherit our core."""
    with tempfile.TemporaryDirectory(prefix="tamer-bench-") as folder:
        server = EmbeddedValkey(Path(folder) / "v.sock", data_dir=None)
        server.start()
        try:
            return asyncio.run(_rounds(server.url, jobs, rounds))
        finally:
            server.stop()


async def _rounds(url: str, jobs: int, rounds: int) -> list[float]:
    redis = connect(url)
    try:
        await _run(JobQueue(redis, "warm-up"), BATCH)
        return [await _run(JobQueue(redis, f"round-{number}"), jobs) for number in range(rounds)]
    finally:
        await redis.aclose()


async def _run(queue: JobQueue, jobs: int) -> float:
    offers = [_offer(number) for number in range(jobs)]
    await queue.attend(_CONSUMER, _LEASE_S)
    began = time.perf_counter()
    for first in range(0, jobs, BATCH):
        batch = offers[first : first + BATCH]
        await asyncio.gather(*(queue.offer(each, max_queued=jobs) for each in batch))
        leases = await queue.lease(_REPLICA, len(batch), 1 << 30, _LEASE_S)
        if len(leases) != len(batch):
            raise QueueFailed(f"{len(batch)} jobs offered, {len(leases)} leased")
        settled = await asyncio.gather(
            *(
                queue.settle(lease.job_id, _CONSUMER, JobState.COMPLETED, "stop", 64, stop=False)
                for lease in leases
            )
        )
        if not all(settled):
            raise QueueFailed("a leased job could not be settled")
    elapsed_s = time.perf_counter() - began
    balance = await queue.balance()
    if not balance.holds or balance.completed != jobs:
        raise QueueFailed(f"the books do not balance: {balance}")
    return jobs / elapsed_s


def _offer(number: int) -> Offer:
    job_id = f"job-{number:08}"
    prompt = token_ids(PROMPT_TOKENS, Random(number))
    spec = JobSpec(job_id, job_id, prompt, Sampling(max_tokens=64))
    return Offer(
        job_id=job_id,
        consumer=_CONSUMER,
        spec=encode(spec),
        cost_tokens=PROMPT_TOKENS + 64,
        prompt_tokens=PROMPT_TOKENS,
        deadline_s=600.0,
    )

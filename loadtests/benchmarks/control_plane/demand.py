"""Traffic that rises and falls: one job more than a deployment has replicas, and none again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle

from infra.connection import RedisClient
from infra.queue.queue import JobQueue, Offer
from infra.registry import ring_controller
from infra.wire import JobSpec, Sampling, encode
from loadtests.benchmarks.control_plane.fleet import Settled

_CONSUMER = "benchmark"
_LEASE_S = 120.0
_MOST_QUEUED = 1000


class Demand:
    def __init__(self, jobs: RedisClient, deployments: Sequence[Settled]) -> None:
        self._jobs = jobs
        self._next: Iterator[Settled] = cycle(deployments)
        self._risen: deque[Settled] = deque()
        self._rises = 0

    async def rise(self) -> Settled:
        """The next deployment needs one replica more."""
        settled = next(self._next)
        self._rises += 1
        queue = JobQueue(self._jobs, settled.revision_id)
        await queue.attend(_CONSUMER, _LEASE_S)
        for number in range(settled.replicas + 1):
            job_id = f"job-{self._rises}-{number}"
            spec = JobSpec(job_id, job_id, [1, 2, 3], Sampling(max_tokens=4))
            offer = Offer(job_id, _CONSUMER, encode(spec), 7, 3, deadline_s=_LEASE_S)
            await queue.offer(offer, _MOST_QUEUED)
        await ring_controller(self._jobs)
        self._risen.append(settled)
        return settled

    async def fall(self) -> None:
        """The one that has needed it for the longest does not any more."""
        await JobQueue(self._jobs, self._risen.popleft().revision_id).abandon("benchmark")

    async def waves(self, per_s: float, up: int, stop: asyncio.Event) -> int:
        """So many rises a second, until `stop`; `up` deployments are up at any time. Returns how
        many rises there were."""
        while not stop.is_set():
            await self.rise()
            if len(self._risen) > up:
                await self.fall()
            await asyncio.sleep(1.0 / per_s)
        return self._rises

    async def fall_all(self) -> None:
        while self._risen:
            await self.fall()

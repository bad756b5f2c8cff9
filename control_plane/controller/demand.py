"""What waits and runs in a deployment's queues now, and the most of it in the recent past."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence

from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from control_plane.autoscaler.observation import Demand
from infra.connection import RedisClient
from infra.queue.queue import JobQueue, Signals, survey
from infra.telemetry import logger

log = logger(__name__)


class Peak:
    """The greatest of the values seen within a window: a queue that only falls."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._falling: deque[tuple[float, int]] = deque()

    def see(self, value: int, now_s: float) -> int:
        while self._falling and self._falling[-1][1] <= value:
            self._falling.pop()
        self._falling.append((now_s, value))
        while now_s - self._falling[0][0] > self._window_s:
            self._falling.popleft()
        return self._falling[0][1]


class DemandWatch:
    """One process's memory of demand. A process that has just started remembers that what runs
    was needed: it counts the capacity that it finds as the first peak."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs
        self._peaks: dict[tuple[str, float], Peak] = {}

    async def signals(self, revision_ids: Collection[str]) -> dict[str, Signals]:
        """What each queue says, after what is overdue in it has ended; one that cannot be asked is
        missing."""
        found: dict[str, Signals] = {}
        for part in self._reached_together(revision_ids):
            try:
                found |= await survey(self._jobs, part)
            except RedisError as error:
                log.warning("queues cannot be asked", queues=len(part), error=str(error))
        return found

    def _reached_together(self, revision_ids: Collection[str]) -> Sequence[Sequence[str]]:
        """A shard of a cluster that is away keeps nobody from asking the others."""
        if isinstance(self._jobs, RedisCluster):
            return [[each] for each in revision_ids]
        return [list(revision_ids)]

    async def abandon(self, revision_id: str, reason: str) -> None:
        """End what still waits in a queue that nobody will serve again.

        Raises RedisError: it is tried again.
        """
        ended = await JobQueue(self._jobs, revision_id).abandon(reason)
        log.warning("queue abandoned", revision_id=revision_id, jobs=ended, reason=reason)

    def demand(
        self, deployment_id: str, signals: dict[str, Signals], window_s: float, capacity_jobs: int
    ) -> Demand:
        """The sum over the deployment's queues.

        Args:
            capacity_jobs: what the present target can run at once.
        """
        now_s = time.monotonic()
        pending = sum(each.pending for each in signals.values())
        peak = self._peaks.get((deployment_id, window_s))
        if peak is None:
            peak = self._peaks[deployment_id, window_s] = Peak(window_s)
            peak.see(capacity_jobs, now_s)
        return Demand(
            pending_jobs=pending,
            peak_pending_jobs=peak.see(pending, now_s),
            idle_s=min(each.idle_s for each in signals.values()),
            age_s=0.0,
        )

    def keep_only(self, deployment_ids: Collection[str]) -> None:
        """Forget deployments that are gone."""
        self._peaks = {key: peak for key, peak in self._peaks.items() if key[0] in deployment_ids}

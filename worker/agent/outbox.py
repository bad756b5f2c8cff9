"""What a replica has to say to consumers: in order, one write a step, kept while Redis is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY
from infra.token_stream import TokenWriter
from infra.waiting import set_within
from infra.wire import StepTokens, TokenEvent
from worker.agent.clock import lease_clock_s
from worker.agent.held_jobs import HeldJob

MAX_EVENTS = 50_000
_BATCH_EVENTS = 4096


class Said(NamedTuple):
    job: HeldJob
    event: TokenEvent


class Outbox:
    """A bounded queue of events and the task that writes it.

    Steps that pile up behind a slow write go out together: still one message per consumer.
    """

    def __init__(self, writer: TokenWriter, replica_id: str, max_events: int = MAX_EVENTS) -> None:
        self._writer = writer
        self._replica_id = replica_id
        self._max_events = max_events
        self._pending: deque[Said] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, said: Sequence[Said]) -> list[HeldJob]:
        """Add a step; returns jobs whose events had no place, which must not be held any longer."""
        refused: dict[str, HeldJob] = {}
        for each in said:
            if each.job.job_id in refused or len(self._pending) >= self._max_events:
                refused[each.job.job_id] = each.job
            else:
                self._pending.append(each)
        if self._pending:
            self._filled.set()
            self._empty.clear()
        return list(refused.values())

    async def flush(self, limit_s: float) -> bool:
        """Wait until everything is written or dropped; False when the time runs out first."""
        return await set_within(self._empty, limit_s)

    async def write_forever(self) -> None:
        backoff = Backoff(first_s=0.05, limit_s=1.0)
        while True:
            await self._filled.wait()
            batch = list(islice(self._pending, _BATCH_EVENTS))
            try:
                await self._write(batch)
            except REDIS_AWAY:
                # Nothing is removed: the same events go out again, in order, and consumers skip
                # what they have had. Only a lease that ran out silences them.
                await backoff.pause()
                continue
            backoff.reset()
            for _ in batch:
                self._pending.popleft()
            if not self._pending:
                self._filled.clear()
                self._empty.set()

    async def _write(self, said: Sequence[Said]) -> None:
        now_s = lease_clock_s()
        allowed = [each for each in said if each.job.may_speak(now_s)]
        if not allowed:
            return
        steps: dict[str, StepTokens] = {}
        for job, event in allowed:
            step = steps.setdefault(job.lease.consumer, StepTokens(self._replica_id, []))
            step.events.append(event)
        # A write that hangs is given up when the first lease in it ends, and tried again without.
        async with asyncio.timeout(min(each.job.speak_until_s for each in allowed) - now_s):
            await self._writer.write(steps)

"""Calls to the job queue that must happen once: repeated until Redis has taken them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from control_plane.gateway.until_taken import until_taken
from infra.connection import REDIS_AWAY, RedisClient
from infra.ending import end_tasks
from infra.queue.queue import JobQueue
from infra.telemetry import logger

_log = logger(__name__)
_CALLS_AT_ONCE = 32

T = TypeVar("T")


class QueueCalls:
    """Errands outlive the request that they are for."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs
        self._errands: set[asyncio.Task[Any]] = set()
        self._at_once = asyncio.Semaphore(_CALLS_AT_ONCE)

    def queue(self, revision_id: str) -> JobQueue:
        return JobQueue(self._jobs, revision_id)

    async def until_taken(self, call: Callable[[], Awaitable[T]]) -> T:
        """Every call to the queue may be repeated, so one that failed is."""

        async def in_turn() -> T:
            async with self._at_once:
                return await call()

        return await until_taken("queue", in_turn)

    async def try_once(self, call: Coroutine[Any, Any, None], limit_s: float) -> None:
        """A call that will be made again anyway: one that fails, or says nothing for so long, is
        logged."""
        try:
            async with asyncio.timeout(limit_s):
                await call
        except REDIS_AWAY as error:
            _log.warning("queue cannot be attended", error=str(error) or type(error).__name__)

    def run(self, errand: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def close(self, limit_s: float) -> None:
        """Give errands some time, then end them."""
        if self._errands:
            await asyncio.wait(set(self._errands), timeout=limit_s)
        await end_tasks(*self._errands)

"""The order to leave: the machine goes away, or the assignment says so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from infra.ending import end_tasks

T = TypeVar("T")


class LeaveOrder:
    """Set by the first SIGTERM or SIGINT, or by `give`. The second of a kind ends the process at
    once: the kernel ends its engines with it, and the queue notices by their leases."""

    def __init__(self) -> None:
        self._given = asyncio.Event()
        self._signals: Counter[int] = Counter()

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear, number)

    def give(self) -> None:
        self._given.set()

    @property
    def by_signal(self) -> bool:
        """Somebody at this machine gave it."""
        return self._signals.total() > 0

    async def wait(self) -> None:
        await self._given.wait()

    async def unless_given(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work returns; None, and the work ended, where the order comes first."""
        working, ordered = asyncio.create_task(work), asyncio.create_task(self.wait())
        try:
            await asyncio.wait((working, ordered), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            await end_tasks(working, ordered)

    def _hear(self, number: int) -> None:
        self._signals[number] += 1
        if self._signals[number] > 1:
            os._exit(128 + number)
        self.give()

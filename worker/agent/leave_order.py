"""The order to leave: the machine goes away, or the assignment says so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter


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

    async def wait(self) -> None:
        await self._given.wait()

    def _hear(self, number: int) -> None:
        self._signals[number] += 1
        if self._signals[number] > 1:
            os._exit(128 + number)
        self.give()

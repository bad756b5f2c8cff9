"""Pauses between tries: they double up to a limit, so that nothing that is gone is hammered."""

from __future__ import annotations

import asyncio


class Backoff:
    def __init__(self, first_s: float, limit_s: float) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self.next_s = first_s

    async def pause(self) -> None:
        pause_s = self.next_s
        self.next_s = min(self._limit_s, self.next_s * 2)
        await asyncio.sleep(pause_s)

    def reset(self) -> None:
        self.next_s = self._first_s

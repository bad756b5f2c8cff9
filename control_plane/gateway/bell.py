"""A bell that one task waits for while others ring it, as often as tokens come."""

from __future__ import annotations

import asyncio


class Bell:
    """Like an `asyncio.Event` that `asyncio.timeout` surrounds, for one waiter and at half the
    cost: an event stream waits once for each token."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiter is not None:
            _wake(self._waiter)

    async def wait(self, limit_s: float | None = None) -> bool:
        """Wait until it has been rung since the last wait; False when the time ran out first."""
        assert self._waiter is None, "a bell has one waiter"
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if limit_s is None else loop.call_later(limit_s, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        rung, self._rung = self._rung, False
        return rung


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

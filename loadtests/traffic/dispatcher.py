"""The open loop: sends each request when it is due, whether or not earlier ones were answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import gevent
from gevent.pool import Pool

from loadtests.traffic.schedule import Due


class Dispatcher:
    """`send` runs in a greenlet of its own for every request; `drop` takes those never sent."""

    def __init__(
        self,
        send: Callable[[Due, float], None],
        drop: Callable[[Due, float], None],
        max_in_flight: int,
    ) -> None:
        self._send = send
        self._drop = drop
        self._under_way = Pool(max_in_flight)

    def run(self, schedule: Iterable[Due], limit: int, started_s: float) -> None:
        """Send up to `limit` requests and wait for the last answer.

        What is under way when this greenlet is killed is killed with it.
        """
        try:
            for number, due in enumerate(schedule):
                if number >= limit:
                    break
                self._wait_until(started_s + due.at_s)
                lag_ms = (time.monotonic() - started_s - due.at_s) * 1000
                if self._under_way.free_count() > 0:
                    self._under_way.spawn(self._send, due, lag_ms)
                else:
                    self._drop(due, lag_ms)
            self._under_way.join()
        finally:
            self._under_way.kill()

    def _wait_until(self, due_s: float) -> None:
        gevent.sleep(max(0.0, due_s - time.monotonic()))

"""So many calls a second and no more: EC2 throttles a whole account, and we share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class CallBudget:
    """A token bucket that threads share; whoever finds it empty is told when to come back."""

    def __init__(
        self, calls_per_s: float, burst_s: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls_per_s = calls_per_s
        self._most = max(1.0, calls_per_s * burst_s)
        self._left = self._most
        self._at_s = clock()
        self._clock = clock
        self._lock = threading.Lock()

    def wait_s(self, longest_s: float) -> float | None:
        """Book one call: seconds until its turn, or None (nothing booked) if that is too late."""
        with self._lock:
            now_s = self._clock()
            grown = (now_s - self._at_s) * self._calls_per_s
            self._left, self._at_s = min(self._most, self._left + grown), now_s
            wait_s = max(0.0, (1.0 - self._left) / self._calls_per_s)
            if wait_s > longest_s:
                return None
            self._left -= 1.0
            return wait_s

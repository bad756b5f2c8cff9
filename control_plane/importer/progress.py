"""How far an import is, told often enough for a bar."""

from __future__ import annotations

import threading
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (phase, done_bytes, total_bytes); the total is 0 while it is not known."""

STEP_BYTES = 4 << 20


def silent(phase: str, done_bytes: int, total_bytes: int) -> None:
    """The `Progress` of a caller that shows none."""


class Meter:
    """Counts the bytes of one phase and reports at its start, every `STEP_BYTES` and its end.

    Threads may share it. What is counted below zero must be moved again.
    """

    def __init__(
        self, progress: Progress, phase: str, total_bytes: int, announced: bool = True
    ) -> None:
        """`announced`: whether the phase exists before its first byte."""
        self._lock = threading.Lock()
        self._progress = progress
        self._phase = phase
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._reported_bytes = 0
        if announced:
            progress(phase, 0, total_bytes)

    def add(self, count_bytes: int) -> None:
        """Count; 0 reports what has been counted, so that whoever wants no more can say so."""
        with self._lock:
            self._done_bytes += count_bytes
            due = abs(self._done_bytes - self._reported_bytes) >= STEP_BYTES
            if not count_bytes or due or self._done_bytes == self._total_bytes:
                self._reported_bytes = self._done_bytes
                self._progress(self._phase, self._done_bytes, self._total_bytes)

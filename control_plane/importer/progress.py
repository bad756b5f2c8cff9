"""How far an import is, told often enough for a bar."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (phase, done_bytes, total_bytes); the total is 0 while it is not known."""

STEP_BYTES = 4 << 20


def silent(phase: str, done_bytes: int, total_bytes: int) -> None:
    """The `Progress` of a caller that shows none."""


class Meter:
    """Counts the bytes of one phase and reports at its start, every `STEP_BYTES` and its end."""

    def __init__(self, progress: Progress, phase: str, total_bytes: int) -> None:
        self._progress = progress
        self._phase = phase
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._reported_bytes = 0
        progress(phase, 0, total_bytes)

    def add(self, count_bytes: int) -> None:
        self._done_bytes += count_bytes
        due = self._done_bytes - self._reported_bytes >= STEP_BYTES
        if count_bytes and (due or self._done_bytes == self._total_bytes):
            self._reported_bytes = self._done_bytes
            self._progress(self._phase, self._done_bytes, self._total_bytes)

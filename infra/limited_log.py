"""A log file that cannot fill the disk: it keeps the newest part and one older part."""

from __future__ import annotations

import io
import os
from pathlib import Path

_LIMIT_BYTES = 8 << 20
_LAST_LINE_BYTES = 16 << 10
"""Of a structured line with a traceback in it, all."""


class LimitedLog:
    """Writes never raise: a program must not stop because its log cannot be written."""

    def __init__(self, path: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
        """Raises:
        OSError: the file cannot be opened.
        """
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._limit_bytes = limit_bytes
        self._file = self._open()
        self._tail = b""

    def _open(self) -> io.FileIO:
        descriptor = os.open(
            self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        return io.FileIO(descriptor, "ab")

    def write(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-_LAST_LINE_BYTES:]
        try:
            if self._file.tell() + len(chunk) > self._limit_bytes:
                self._file.close()
                self.path.replace(self._older)
                self._file = self._open()
            self._file.write(chunk)
        except (OSError, ValueError):  # disk full, folder gone: the line is lost, not the program
            return

    @property
    def last_line(self) -> str:
        """The last line that was not empty; "" when there was none."""
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def close(self) -> None:
        self._file.close()


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the `count` log files that were written last."""
    written = sorted(folder.glob("*.log*"), key=_changed_at, reverse=True)
    for path in written[count:]:
        path.unlink(missing_ok=True)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

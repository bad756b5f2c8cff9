"""What the owner of the machine sees: a line for each step, while the whole log goes to a file."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

from infra.limited_log import LimitedLog
from infra.telemetry import configure_logging

_SHOWN = frozenset({"joined", "leaving", "replica state", "engine started"})
_BESIDE = ("event", "level", "process", "timestamp", "logger", "replica_id", "revision_id")


def say(text: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def show_progress(level: str, log_file: Path) -> None:
    """Send the log of this process to a file, and what a person wants to know of it to stderr.

    Raises:
        OSError: the file cannot be opened.
    """
    configure_logging("agent", level)
    root = logging.getLogger()
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(_LogFile(LimitedLog(log_file)))
    root.addHandler(_Shown())


class _LogFile:
    """A `LimitedLog` as a stream of text."""

    def __init__(self, log: LimitedLog) -> None:
        self._log = log

    def write(self, text: str) -> None:
        self._log.write(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        """Nothing is held back."""


class _Shown(logging.Handler):
    """Steps of the agent's life, and everything from warnings up."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {}
        event = str(fields.get("event") or record.getMessage())
        if event in _SHOWN or record.levelno >= logging.WARNING:
            say(_line(event, fields))


def _line(event: str, fields: dict[str, Any]) -> str:
    if event == "replica state":
        reason = f" ({fields['reason']})" if fields.get("reason") else ""
        return f"{fields['replica_id']}: {fields['state']}{reason}"
    about = f"{fields['replica_id']}: " if "replica_id" in fields else ""
    rest = ", ".join(f"{name} {value}" for name, value in fields.items() if name not in _BESIDE)
    return f"{about}{event}" + (f" ({rest})" if rest else "")

"""A line in the log where readiness changes: whoever asks every tenth of a second fills no log."""

from __future__ import annotations

from infra.telemetry import logger

_log = logger("api")


class ReadinessChanges:
    """What the log was told last; a process begins ready."""

    def __init__(self) -> None:
        self._missing = ""

    def note(self, missing: str) -> None:
        """`missing`: why the process is not ready; empty: it is."""
        if missing == self._missing:
            return
        self._missing = missing
        if missing:
            _log.warning("not_ready", reason=missing)
        else:
            _log.info("ready_again")

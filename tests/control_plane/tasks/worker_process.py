"""A Celery worker as Tamer starts it: its own process, a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra.process import end_with_parent
from infra.settings import Settings

_STOP_LIMIT_S = 20.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


class WorkerProcess:
    def __init__(self, settings: Settings) -> None:
        self._log = settings.home / "worker.log"
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "control_plane.tasks"],
                cwd=Path(__file__).parents[3],
                env={
                    **passed_on,
                    "TAMER_HOME": str(settings.home),
                    "TAMER_DATABASE_URL": settings.database_url,
                    "TAMER_JOBS_URL": settings.jobs,
                    "TAMER_BROKER_URL": settings.broker,
                    "TAMER_ROW_LEASE_S": str(settings.row_lease_s),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(_STOP_LIMIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

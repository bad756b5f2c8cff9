"""Child processes that tell what they do in lines of JSON: controllers, and generators of beats."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.process import end_with_parent
from loadtests.benchmarks.control_plane.heartbeats import Beaten

_STOP_LIMIT_S = 20.0
_PACKAGE = "loadtests.benchmarks.control_plane"
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Pass:
    at: float
    """When it ended, epoch seconds."""
    pass_s: float
    cpu_s: float
    """Of the whole process, its projection too."""
    changed: int


class _Child:
    """Start it from the main thread: it ends with the thread that started it."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"{_PACKAGE}.{module}"],
                cwd=_ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=end_with_parent(),  # noqa: PLW1509
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard(json.loads(line))

    def heard(self, said: dict[str, Any]) -> None:
        raise NotImplementedError

    def end(self, signal_number: int) -> None:
        """Returns when it has ended, and all that it said has been heard."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            self.process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()


class ControllerProcess(_Child):
    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.passes: list[Pass] = []
        self.sent: dict[str, float] = {}
        """When the first message of each operation was sent, epoch seconds."""
        super().__init__("controller_process", environment, log)

    def heard(self, said: dict[str, Any]) -> None:
        if "sent" in said:
            self.sent.setdefault(said["sent"], said["at"])
        else:
            self.passes.append(Pass(**said))

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def kill(self) -> float:
        """SIGKILL; returns when, in epoch seconds."""
        at = time.time()
        self.end(signal.SIGKILL)
        return at


class BeatProcess(_Child):
    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        replicas_on: Mapping[str, Sequence[str]],
        per_s: float,
        for_s: float,
    ) -> None:
        """`per_s` 0: as fast as it can."""
        self._beaten: Beaten | None = None
        super().__init__("heartbeats", environment, log)
        assert self.process.stdin is not None
        order = {"instances": replicas_on, "per_s": per_s, "for_s": for_s}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def heard(self, said: dict[str, Any]) -> None:
        self._beaten = Beaten(**said)

    def result(self) -> Beaten:
        """When its time is over."""
        self.process.wait()
        return self._said()

    def stop(self) -> Beaten:
        """Now."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(_STOP_LIMIT_S)
        return self._said()

    def _said(self) -> Beaten:
        self._reader.join()
        if self._beaten is None:
            raise RuntimeError(f"a generator of heartbeats ended with {self.process.returncode}")
        return self._beaten

"""An arm: what is measured, a process in an environment of its own, stopped while not asked."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loadtests.benchmarks.arms.cores import cores

LOAD_LIMIT_S = 400.0
WAVE_LIMIT_S = 300.0
_REPOSITORY = Path(__file__).parents[3]
_END_LIMIT_S = 5.0


class ArmFailed(RuntimeError):
    """The arm could not be loaded or did not do what was asked; the message is the reason."""


class Refused(ArmFailed):
    """The arm said that it cannot do this; it may be asked for something else."""


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """How an arm is started."""

    module: str
    """Run with `-m`; it calls `answering.answer`."""
    settings: Mapping[str, Any]
    python: Path = Path(sys.executable)
    environment: Mapping[str, str] = field(default_factory=dict)


class Arm:
    """Loaded on entering. `facts` says what it is: version, format, mode, instructions."""

    def __init__(self, spec: ArmSpec, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    str(spec.python),
                    *("-m", spec.module),
                    json.dumps({**spec.settings, "cores": cores()}),
                ],
                env={**os.environ, **spec.environment, "PYTHONPATH": str(_REPOSITORY)},
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # a group of its own, stopped and ended as one
            )
        self._unread = b""
        try:
            self.facts: dict[str, Any] = self._receive(LOAD_LIMIT_S)
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, limit_s: float = WAVE_LIMIT_S, **fields: Any) -> dict[str, Any]:
        """One command; the arm runs only until it has answered.

        Raises:
            Refused: it said why it cannot.
            ArmFailed: it ended, or took longer than the limit: it is not to be asked again.
        """
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
            self._process.stdin.flush()
            return self._receive(limit_s)
        except BrokenPipeError as error:
            raise ArmFailed(self._ended()) from error
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait(_END_LIMIT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self, limit_s: float) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._line(time.monotonic() + limit_s, limit_s))
        if "error" in said:
            raise Refused(said["error"])
        return said

    def _line(self, deadline: float, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ArmFailed(f"no answer within {limit_s:.0f} s")
            read = os.read(output, 1 << 16)
            if not read:
                raise ArmFailed(self._ended())
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _ended(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"its process ended: {lines[-1] if lines else 'without a word'}"

    def _signal(self, number: int) -> None:
        """To the arm and to all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

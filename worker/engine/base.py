"""What an engine is: jobs in, one step at a time, token events out.

An engine runs in a process of its own (`worker/engine/process.py`); the agent talks to that process
over a socket. Engines are found by name in the entry-point group `tamer.engines`; each entry point
is a callable `(EngineSpec) -> Engine`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from infra.wire import JobSpec, TokenEvent
from worker.engine.messages import Stats


class EngineError(RuntimeError):
    """The engine cannot be built as asked; the message says what to change."""


class EngineSpec(msgspec.Struct, frozen=True):
    replica_id: str
    model_path: Path
    options: dict[str, Any] = {}
    threads: int = 1
    landing: str = ""
    """Where the weights land (`worker.loader.landing.Landing.open`); empty: they are files of
    `model_path`."""


class Engine(Protocol):
    def submit(self, job: JobSpec, attempt: int) -> TokenEvent | None:
        """Take a job, or return the event that ends it because it can never run."""

    def cancel(self, job_id: str) -> None:
        """Forget a job; unknown ids are ignored."""

    def step(self) -> list[TokenEvent]:
        """Run one step. Returns at once, empty, when there is nothing to do."""

    def expected_step_s(self) -> float:
        """How long the next step may take at worst, for lease renewal."""

    def stats(self) -> Stats: ...

    def close(self) -> None: ...


@runtime_checkable
class SleepingEngine(Protocol):
    """An engine that can free what is not its weights, while nothing runs; others just wait."""

    def sleep(self) -> None:
        """Keep the weights in host memory and free the rest."""

    def wake(self) -> None:
        """Be as ready as before. Raises EngineError: memory no longer holds what was freed."""

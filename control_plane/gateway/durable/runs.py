"""The durable requests that this gateway writes now."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from control_plane.gateway.consumer import Consumer
from control_plane.gateway.durable.run import DurableRun, Superseded
from infra.ending import end_tasks
from infra.telemetry import logger

_log = logger(__name__)


class Runs:
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._runs: dict[str, DurableRun] = {}
        self._starting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopping = False

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[DurableRun]:
        return iter(list(self._runs.values()))

    def get(self, request_id: str) -> DurableRun | None:
        return self._runs.get(request_id)

    @property
    def idle(self) -> bool:
        return not self._runs and not self._starting

    def reserve(self, request_id: str) -> bool:
        """Take the right to start it here; False where it runs or is being started."""
        if request_id in self._runs or request_id in self._starting:
            return False
        self._starting.add(request_id)
        return True

    def give_up(self, request_id: str) -> None:
        """End a reservation; nothing where it was used."""
        self._starting.discard(request_id)

    def launch(self, run: DurableRun) -> None:
        """Begin to write a request that was reserved."""
        self._runs[run.request.request_id] = run
        self._starting.discard(run.request.request_id)
        self.spawn(self._write(run))

    async def _write(self, run: DurableRun) -> None:
        request_id = run.request.request_id
        try:
            await run.write()
        except Superseded:
            _log.info("a durable request is another gateway's now", durable_id=request_id)
            self.release(run)
        except Exception:  # noqa: BLE001
            # It is found without a run and begun again; attempts are bounded.
            _log.exception("a durable request cannot be written", durable_id=request_id)
            self.release(run)
        if not self.stopping:
            self._runs.pop(request_id, None)
            run.tell_readers()

    def release(self, run: DurableRun) -> None:
        """Leave a request to whoever claims it."""
        for sequence in run.generation.sequences:
            self._consumer.release(sequence)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the gateway."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def end_readers(self) -> None:
        """This gateway is being stopped: its requests go on elsewhere, its readers do not."""
        self.stopping = True
        for run in self:
            run.tell_readers()

    async def close(self) -> None:
        self.end_readers()
        await end_tasks(*self._tasks)
        for run in self:
            self.release(run)

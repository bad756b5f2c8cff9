"""One replica on this instance: its life from slot to engine to queue, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.connection import RedisClient
from infra.ending import end_tasks
from infra.queue.queue import JobQueue
from infra.states import ReplicaState, advance, is_final
from infra.storage.base import Moved, StorageError
from infra.telemetry import logger
from infra.token_stream import TokenWriter
from infra.wire import ReplicaReport, ReplicaSpec
from worker.agent.engine_process import EngineEnded, EngineProcess
from worker.agent.outbox import Outbox
from worker.agent.serving import Serving
from worker.engine.base import EngineSpec
from worker.engine.messages import Failed, Loading, Ready, Stats

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every replica of an instance shares."""

    jobs: RedisClient
    tokens: RedisClient
    lease_s: float
    threads: int
    slots: asyncio.Semaphore
    news: Callable[[], None]
    """Called when a replica changes its state."""
    local_path: Callable[[str, Moved], Path]
    """The files of a model by its URI; they may have to be fetched. Raises StorageError."""


class _Unwanted(Exception):
    """The replica is drained before it has its model."""


class Replica:
    """`run` is its whole life, once; `drain` shortens it."""

    def __init__(self, spec: ReplicaSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        self.state = ReplicaState.REQUESTED
        self._around = surroundings
        self._reason = "waits for a device slot"
        self._log = _log.bind(replica_id=spec.replica_id, revision_id=spec.revision_id)
        self._drain_asked = asyncio.Event()
        self._drain_limit_s = float("inf")
        self._engine: EngineProcess | None = None
        self._serving: Serving | None = None

    def drain(self, limit_s: float) -> None:
        """Finish what runs within the limit, hand the rest back, and end."""
        if is_final(self.state):
            return
        self._drain_limit_s = min(self._drain_limit_s, limit_s)
        self._drain_asked.set()
        if self.state is not ReplicaState.DRAINING:
            self._become(ReplicaState.DRAINING)
        if self._serving is not None:
            self._serving.drain(limit_s)

    def report(self) -> ReplicaReport:
        stats = self._serving.stats if self._serving else Stats()
        return ReplicaReport(
            replica_id=self.spec.replica_id,
            state=self.state,
            reason=self._reason,
            running=stats.running,
            waiting=stats.waiting,
            kv_tokens_used=stats.kv_tokens_used,
            kv_tokens_total=stats.kv_tokens_total,
            output_tokens=stats.output_tokens,
            prefix_queried_tokens=stats.prefix_queried_tokens,
            prefix_hit_tokens=stats.prefix_hit_tokens,
            preemptions=stats.preemptions,
        )

    async def run(self) -> None:
        """Never raises: what goes wrong is the replica's state and reason."""
        try:
            async with self._around.slots:
                if not self._drain_asked.is_set():
                    await self._run_in_slot()
            self._become(ReplicaState.TERMINATED)
        except (EngineEnded, StorageError, OSError) as error:
            self._become(ReplicaState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - a bug in one replica must not end the others
            self._log.exception("replica broke")
            self._become(ReplicaState.FAILED, f"{type(error).__name__}: {error}")

    async def _run_in_slot(self) -> None:
        self._become(ReplicaState.BOOTING)
        model_dir = await self._fetch_model()
        if model_dir is None:
            return
        spec = EngineSpec(self.spec.replica_id, model_dir, self.spec.options, self._around.threads)
        engine = await EngineProcess.start(self.spec.engine, spec, self._hear_line)
        self._engine = engine
        self._log.info("engine started", engine=self.spec.engine, pid=engine.pid)
        try:
            stats = await self._load(engine)
            if stats is not None:
                await self._serve(engine, stats)
        finally:
            await engine.stop()

    async def _fetch_model(self) -> Path | None:
        """None where the replica is no longer wanted."""
        fetched_bytes = 0

        def moved(count_bytes: int) -> None:
            nonlocal fetched_bytes
            if self._drain_asked.is_set():
                raise _Unwanted
            fetched_bytes += count_bytes
            self._reason = f"fetching the model: {fetched_bytes >> 20} MiB"

        try:
            return await asyncio.to_thread(self._around.local_path, self.spec.model_uri, moved)
        except _Unwanted:
            return None

    async def _load(self, engine: EngineProcess) -> Stats | None:
        """Wait for `Ready`; None where the replica is no longer wanted."""
        loading = asyncio.create_task(self._wait_until_ready(engine))
        unwanted = asyncio.create_task(self._drain_asked.wait())
        try:
            await asyncio.wait((loading, unwanted), return_when=asyncio.FIRST_COMPLETED)
            return loading.result() if loading.done() else None
        finally:
            await end_tasks(loading, unwanted)

    async def _wait_until_ready(self, engine: EngineProcess) -> Stats:
        while True:
            message = await engine.hear()
            if isinstance(message, Ready):
                return message.stats
            if isinstance(message, Failed):
                raise EngineEnded(message.reason)
            if isinstance(message, Loading) and not self._drain_asked.is_set():
                self._become(ReplicaState.LOADING, _progress(message))

    async def _serve(self, engine: EngineProcess, stats: Stats) -> None:
        around = self._around
        outbox = Outbox(TokenWriter(around.tokens), self.spec.replica_id)
        queue = JobQueue(around.jobs, self.spec.revision_id)
        serving = Serving(self.spec.replica_id, queue, engine, outbox, around.lease_s, stats)
        self._serving = serving
        if self._drain_asked.is_set():
            serving.drain(self._drain_limit_s)
        else:
            self._become(ReplicaState.READY)
        writing = asyncio.create_task(outbox.write_forever())
        try:
            await serving.run()
        finally:
            await serving.give_back()
            await end_tasks(writing)

    def _become(self, state: ReplicaState, reason: str = "") -> None:
        if state is self.state:
            self._reason = reason
            return
        self.state = advance(self.state, state)
        self._reason = reason
        self._log.info("replica state", state=state.value, reason=reason)
        self._around.news()

    def _hear_line(self, line: str) -> None:
        self._log.info(line, source="engine")


def _progress(message: Loading) -> str:
    if message.total_bytes == 0:
        return f"loading: {message.phase}"
    share = message.done_bytes / message.total_bytes
    return f"loading: {message.phase} {message.total_bytes >> 20} MiB, {share:.0%}"

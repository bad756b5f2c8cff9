"""One replica on this instance: its life from slot to engine to queue, and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.connection import RedisClient
from infra.ending import end_tasks
from infra.host_memory import held_bytes
from infra.queue.queue import JobQueue
from infra.starts import Phase, Tier
from infra.states import ReplicaState, advance, is_final
from infra.storage.base import Moved, StorageError
from infra.telemetry import logger
from infra.token_stream import TokenWriter
from infra.wire import ReplicaReport, ReplicaSpec
from worker.agent.engine_process import EngineEnded, EngineProcess
from worker.agent.held_model import HeldModel
from worker.agent.outbox import Outbox
from worker.agent.serving import Serving
from worker.agent.standby import Standbys
from worker.agent.start_clock import StartClock
from worker.engine.base import EngineSpec
from worker.engine.messages import (
    Asleep,
    Failed,
    Loading,
    Ready,
    Sleep,
    Stats,
    Wake,
)

T = TypeVar("T")
M = TypeVar("M", Ready, Asleep)

_LOADING_PHASES = {"engine": Phase.ENGINE, "model": Phase.LOAD}
"""What the engine process says before it has any bytes."""
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
    open_model: Callable[[ReplicaSpec, Moved], HeldModel]
    """`worker.agent.models.Models.open`, for a thread. Raises StorageError."""
    standbys: Standbys


class _Unwanted(Exception):
    """The replica is drained before it has its model."""


class Replica:
    """`run` is its whole life, once; `drain` shortens it, `want_asleep` interrupts it."""

    def __init__(self, spec: ReplicaSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        self.state = ReplicaState.REQUESTED
        self._around = surroundings
        self._reason = "waits for a device slot"
        self._log = _log.bind(replica_id=spec.replica_id, revision_id=spec.revision_id)
        self._drain_asked = asyncio.Event()
        self._ordered = asyncio.Event()
        """Set by every order to drain, to sleep or to wake."""
        self._asleep_wanted = spec.asleep
        self._clock = StartClock(time.monotonic, spec.wakes)
        self._weight_bytes = 0
        self._drain_limit_s = float("inf")
        self._model: HeldModel | None = None
        self._engine: EngineProcess | None = None
        self._serving: Serving | None = None

    def drain(self, limit_s: float) -> None:
        """Finish what runs within the limit, hand the rest back, and end."""
        if is_final(self.state):
            return
        self._drain_limit_s = min(self._drain_limit_s, limit_s)
        self._drain_asked.set()
        self._ordered.set()
        if self.state is not ReplicaState.DRAINING:
            self._become(ReplicaState.DRAINING)
        if self._serving is not None:
            self._serving.drain(limit_s)

    def want_asleep(self, asleep: bool, wakes: int) -> None:
        """Sleep once what runs is finished, or wake up; `wakes` names the start that this is."""
        if asleep == self._asleep_wanted or self._drain_asked.is_set():
            return
        self._asleep_wanted = asleep
        self._ordered.set()
        if not asleep:
            self._clock = StartClock(time.monotonic, wakes)
            self._clock.enter(Phase.WARM)
        elif self._serving is not None:
            self._serving.drain(float("inf"))

    def report(self) -> ReplicaReport:
        """How it is now, and the steps that no report has told yet."""
        stats = self._serving.stats if self._serving else Stats()
        engine = self._engine
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
            memory_bytes=held_bytes(engine.pid) if engine is not None else 0,
            start=self._clock.report(),
            steps=self._serving.take_steps() if self._serving is not None else [],
        )

    async def run(self) -> None:
        """Never raises: what goes wrong is the replica's state and reason."""
        try:
            slots = self._around.slots
            if await self._unless_drained(slots.acquire()):
                try:
                    if not self._drain_asked.is_set():
                        await self._run_in_slot()
                finally:
                    slots.release()
            self._become(ReplicaState.TERMINATED)
        except (EngineEnded, StorageError, OSError) as error:
            self._become(ReplicaState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - a bug in one replica must not end the others
            self._log.exception("replica broke")
            self._become(ReplicaState.FAILED, f"{type(error).__name__}: {error}")

    async def _run_in_slot(self) -> None:
        self._become(ReplicaState.BOOTING)
        self._clock.enter(Phase.FETCH)
        model = await self._fetch_model()
        if model is None:
            return
        try:
            await self._run_with(model)
        finally:
            await asyncio.to_thread(model.release)

    async def _run_with(self, model: HeldModel) -> None:
        self._model = model
        self._clock.enter(Phase.ENGINE)
        spec = EngineSpec(
            self.spec.replica_id,
            model.folder,
            self.spec.options,
            self._around.threads,
            model.landing,
        )
        engine = await self._begin_engine(spec)
        self._engine = engine
        try:
            stats = await self._load(engine)
            while stats is not None:
                await self._serve(engine, stats)
                stats = await self._sleep(engine)
        finally:
            self._engine = None
            await engine.stop()

    async def _begin_engine(self, spec: EngineSpec) -> EngineProcess:
        kind = self.spec.engine
        waited = await self._around.standbys.take(kind, spec, self._hear_line)
        self._clock.standby = waited is not None
        engine = waited or await EngineProcess.start(kind, spec, self._hear_line)
        self._log.info("engine started", engine=kind, pid=engine.pid, standby=waited is not None)
        return engine

    async def _fetch_model(self) -> HeldModel | None:
        """None where the replica is no longer wanted."""
        fetched_bytes = 0

        def moved(count_bytes: int) -> None:
            nonlocal fetched_bytes
            if self._drain_asked.is_set():
                raise _Unwanted
            fetched_bytes += count_bytes
            self._reason = f"fetching the model: {fetched_bytes >> 20} MiB"

        try:
            found = await asyncio.to_thread(self._around.open_model, self.spec, moved)
        except _Unwanted:
            return None
        if fetched_bytes:
            self._clock.read(Tier.STORE, fetched_bytes)
        return found

    async def _load(self, engine: EngineProcess) -> Stats | None:
        """Wait for `Ready`; None where the replica is no longer wanted."""
        ready = await self._unless_drained(self._hear_until(engine, Ready))
        if ready is not None and not self._clock.has_read:
            # An engine is ready before the last of its weights is there.
            self._see_tiers(self._weight_bytes)
        self._clock.end()
        return ready.stats if ready is not None else None

    async def _unless_drained(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """What is waited for, or None as soon as the replica is no longer wanted."""
        awaited = asyncio.create_task(waiting)
        unwanted = asyncio.create_task(self._drain_asked.wait())
        try:
            await asyncio.wait((awaited, unwanted), return_when=asyncio.FIRST_COMPLETED)
            return awaited.result() if awaited.done() else None
        finally:
            await end_tasks(awaited, unwanted)

    async def _hear_until(self, engine: EngineProcess, kind: type[M]) -> M:
        while True:
            message = await engine.hear()
            if isinstance(message, kind):
                return message
            if isinstance(message, Failed):
                raise EngineEnded(message.reason)
            if isinstance(message, Loading):
                self._see_progress(message)

    def _see_progress(self, message: Loading) -> None:
        self._weight_bytes = message.total_bytes or self._weight_bytes
        if message.phase in _LOADING_PHASES:
            self._clock.enter(_LOADING_PHASES[message.phase])
        elif message.total_bytes == 0:
            self._clock.enter(Phase.WARM)
        elif message.done_bytes == message.total_bytes:
            self._see_tiers(message.total_bytes)
            self._clock.enter(Phase.WARM)
            if self._model is not None:
                self._clock.split(Phase.LOAD, Phase.VERIFY, self._model.checking_share())
        if not self._drain_asked.is_set():
            self._become(ReplicaState.LOADING, _progress(message))

    def _see_tiers(self, total_bytes: int) -> None:
        told = self._model.bytes_by_tier() if self._model is not None else {}
        for tier, count_bytes in told.items():
            self._clock.read(Tier(tier), count_bytes)
        if not self._clock.has_read:
            self._clock.read(Tier.DISK, total_bytes)

    async def _serve(self, engine: EngineProcess, stats: Stats) -> None:
        """Until it is drained, or shall sleep and nothing runs."""
        around = self._around
        outbox = Outbox(TokenWriter(around.tokens), self.spec.replica_id)
        queue = JobQueue(around.jobs, self.spec.revision_id)
        serving = Serving(
            self.spec.replica_id, queue, engine, outbox, around.lease_s, stats, self._said_first
        )
        self._serving = serving
        if self._drain_asked.is_set():
            serving.drain(self._drain_limit_s)
        else:
            self._become(ReplicaState.READY)
            if self._asleep_wanted:
                serving.drain(float("inf"))
        writing = asyncio.create_task(outbox.write_forever())
        try:
            await serving.run()
        finally:
            await serving.give_back()
            await end_tasks(writing)

    async def _sleep(self, engine: EngineProcess) -> Stats | None:
        """Sleep where that is wanted; the engine's words once it is awake, None where drained."""
        stats = self._serving.stats if self._serving is not None else Stats()
        self._serving = None
        if self._drain_asked.is_set():
            return None
        if not self._asleep_wanted:  # woken before it could fall asleep
            self._clock.end()
            return stats
        await engine.tell(Sleep())
        asleep = await self._unless_drained(self._hear_until(engine, Asleep))
        if asleep is None or self._drain_asked.is_set():
            return None
        self._become(ReplicaState.SLEEPING, "keeps its weights in memory")
        await self._sleep_on(engine)
        if self._drain_asked.is_set():
            return None
        self._become(ReplicaState.LOADING, "wakes up")
        self._clock.read(Tier.MEMORY, self._weight_bytes)
        await engine.tell(Wake())
        return await self._load(engine)

    async def _sleep_on(self, engine: EngineProcess) -> None:
        """Until it shall wake or drain.

        Raises:
            EngineEnded: it ended in its sleep.
        """
        ended = asyncio.create_task(engine.ended())
        try:
            while self._asleep_wanted and not self._drain_asked.is_set():
                self._ordered.clear()
                ordered = asyncio.create_task(self._ordered.wait())
                await asyncio.wait((ended, ordered), return_when=asyncio.FIRST_COMPLETED)
                await end_tasks(ordered)
                if ended.done():
                    raise EngineEnded(engine.last_words)
        finally:
            await end_tasks(ended)

    def _said_first(self, took_s: float) -> None:
        self._clock.spent(Phase.FIRST_TOKEN, took_s)
        self._around.news()

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

"""An engine process that waits with its imports done: the next start costs only its load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from subprocess import SubprocessError

from infra.backoff import Backoff
from infra.ending import end_tasks
from infra.host_memory import available_bytes, held_bytes
from infra.settings import Standby
from infra.telemetry import logger
from infra.waiting import set_within
from worker.agent.engine_process import EngineEnded, EngineProcess
from worker.engine.base import EngineSpec
from worker.engine.messages import Failed, StandingBy

DEFAULT_ENGINE = "torch"
ROOM_BYTES = 2 << 30
"""Available memory below which no process is started only to wait; it takes about 0.35 GB of it."""
_LOOK_S = 1.0
_READY_LIMIT_S = 120.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Standing:
    engine: str
    process: EngineProcess
    prepared: asyncio.Task[None]
    """Done when it has its imports; raises EngineEnded where it never will."""
    ended: asyncio.Task[None]

    @property
    def failed(self) -> bool:
        broke = self.prepared.done() and self.prepared.exception() is not None
        return broke or self.ended.done()


class Standbys:
    """One at most. It is made when nothing is starting, and again after it was given away.

    Args:
        has_free_slot: whether a replica could be started here now.
        news: called when what is to be told of it has changed.
    """

    def __init__(
        self,
        standby: Standby,
        threads: int,
        has_free_slot: Callable[[], bool],
        news: Callable[[], None],
    ) -> None:
        self._standby = standby
        self._threads = threads
        self._has_free_slot = has_free_slot
        self._news = news
        self._asked = ""
        self._last = DEFAULT_ENGINE
        self._standing: _Standing | None = None
        self._pause = Backoff(first_s=_FIRST_PAUSE_S, limit_s=_LONGEST_PAUSE_S)
        self._changed = asyncio.Event()

    @property
    def count(self) -> int:
        """Of those that can be used at once."""
        standing = self._standing
        return int(standing is not None and standing.prepared.done() and not standing.failed)

    @property
    def held_bytes(self) -> int:
        """Host memory, also of one that is still to get ready."""
        return held_bytes(self._standing.process.pid) if self._standing is not None else 0

    def ask(self, engine: str) -> None:
        """One of this engine is wanted although replicas run, unless the owner of the machine said
        `off`; empty: the setting decides alone."""
        if engine != self._asked:
            self._asked = engine
            self._changed.set()

    async def take(
        self, engine: str, spec: EngineSpec, on_line: Callable[[str], None]
    ) -> EngineProcess | None:
        """The one that waits, told what to be, and the caller's from now on; None where there is
        none for this engine."""
        self._last = engine
        standing = self._standing
        if standing is None or standing.engine != engine or spec.threads != self._threads:
            return None
        self._standing = None
        self._changed.set()
        await end_tasks(standing.ended)
        try:
            # One that is not done with its imports would have to do them now in any case.
            await standing.prepared
            await standing.process.begin(spec, on_line)
        except EngineEnded as ended:
            _log.warning("a standby could not be used", reason=str(ended))
            await standing.process.stop()
            return None
        except BaseException:
            await standing.process.stop()
            raise
        self._pause.reset()
        return standing.process

    async def keep_forever(self, is_starting: Callable[[], bool]) -> None:
        """Make, watch and dismiss it; `is_starting` says whether a start needs the cores now."""
        calm = False
        try:
            while True:
                wanted, standing = self._wanted(), self._standing
                if standing is not None and standing.failed:
                    _log.warning("a standby ended", reason=standing.process.last_words)
                    await self._dismiss()
                    await self._pause.pause()
                elif standing is not None and standing.engine != wanted and not is_starting():
                    # One that starts is about to take it, though its slot is no longer free.
                    await self._dismiss()
                elif standing is None and wanted and calm and _has_memory():
                    await self._try_to_make(wanted)
                # Between two steps of one start it looks quiet, but not for long.
                calm = not await set_within(self._changed, _LOOK_S) and not is_starting()
                self._changed.clear()
        finally:
            await self._dismiss()

    def _wanted(self) -> str:
        """The engine of the standby that should be there; empty: none."""
        if self._standby is Standby.OFF:
            return ""
        if self._asked:
            return self._asked
        if self._standby is Standby.ON or self._has_free_slot():
            return self._last
        return ""

    async def _try_to_make(self, engine: str) -> None:
        try:
            await self._make(engine)
        except (OSError, SubprocessError) as error:
            # A machine without a process to spare still serves.
            _log.warning("no standby can be started", reason=str(error))
            await self._pause.pause()

    async def _make(self, engine: str) -> None:
        process = await EngineProcess.stand_by(engine, self._threads, _say)
        prepared = asyncio.create_task(_prepared(process))
        ended = asyncio.create_task(process.ended())
        for task in (prepared, ended):
            task.add_done_callback(self._has_news)
        self._standing = _Standing(engine, process, prepared, ended)
        _log.info("a standby starts", engine=engine, pid=process.pid)

    async def _dismiss(self) -> None:
        standing, self._standing = self._standing, None
        if standing is not None:
            await end_tasks(standing.prepared, standing.ended)
            await standing.process.stop()
            self._news()

    def _has_news(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # heard of here, or where it is awaited
        self._changed.set()
        self._news()


def _has_memory() -> bool:
    try:
        return available_bytes() >= ROOM_BYTES
    except OSError:
        return False


async def _prepared(process: EngineProcess) -> None:
    try:
        async with asyncio.timeout(_READY_LIMIT_S):
            message = await process.hear()
    except TimeoutError:
        raise EngineEnded(f"not prepared within {_READY_LIMIT_S:.0f} s") from None
    if isinstance(message, Failed):
        raise EngineEnded(message.reason)
    if not isinstance(message, StandingBy):
        raise EngineEnded(f"said {type(message).__name__} instead of standing by")


def _say(line: str) -> None:
    _log.info(line, source="standby")

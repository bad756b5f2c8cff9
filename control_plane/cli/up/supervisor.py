"""Child programs of one supervisor: started together, kept alive, stopped in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.cli.exits import CommandError
from infra.child import Child
from infra.limited_log import LimitedLog

_CHECK_EVERY_S = 0.05
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0
_STEADY_S = 30.0
"""A program that ran this long has recovered: its next end is treated as its first."""

Say = Callable[[str], None]
Check = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and how to know that it serves."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    ready: Check | None = None
    """None: it is ready when it has started."""
    start_limit_s: float = 60.0
    stop_limit_s: float = 8.0


class StartFailed(CommandError):
    """A program ended, or said nothing, before it was ready."""


@dataclass(slots=True)
class _Kept:
    program: Program
    child: Child
    stopping: bool = False
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Belongs to one event loop on the main thread. Call `stop` in the end, whatever happened.

    Until `keep_alive` a program that ends is a failed start; after it, it is started again.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._kept: dict[str, _Kept] = {}
        self._killed = False

    async def start(self, programs: Iterable[Program]) -> None:
        """Start programs at once and return when all are ready.

        Raises:
            StartFailed: one ended or was not ready in time; the others still run.
        """
        started = [self._start(program) for program in programs]
        waits = [asyncio.ensure_future(self._wait_until_ready(kept)) for kept in started]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    def keep_alive(self) -> None:
        """From now on a program that ends by itself is started again."""
        for kept in self._kept.values():
            if kept.keeper is None:
                kept.keeper = asyncio.create_task(self._keep(kept))

    def _start(self, program: Program) -> _Kept:
        kept = _Kept(program, self._spawn(program))
        self._kept[program.name] = kept
        return kept

    def _spawn(self, program: Program) -> Child:
        try:
            log = LimitedLog(program.log_path)
            return Child(program.command, program.environment, log)
        except OSError as error:
            raise StartFailed(f"cannot start {program.name}: {error}") from error

    async def _wait_until_ready(self, kept: _Kept) -> None:
        program = kept.program
        ready = asyncio.ensure_future(_poll(program.ready))
        ended = asyncio.ensure_future(kept.child.ended.wait())
        try:
            done, _ = await asyncio.wait(
                {ready, ended}, timeout=program.start_limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            if ended in done:
                raise StartFailed(
                    f"{program.name} ended at its start, {kept.child.reason} "
                    f"(log: {program.log_path})"
                )
            if ready not in done:
                raise StartFailed(
                    f"{program.name} was not ready after {program.start_limit_s:.0f} s "
                    f"(log: {program.log_path})"
                )
            ready.result()
        finally:
            ready.cancel()
            ended.cancel()

    async def _keep(self, kept: _Kept) -> None:
        """Start a program again whenever it ends by itself."""
        program = kept.program
        backoff_s = _FIRST_BACKOFF_S
        while True:
            since = time.monotonic()
            await kept.child.ended.wait()
            if kept.stopping:
                return
            if time.monotonic() - since > _STEADY_S:
                backoff_s = _FIRST_BACKOFF_S
            self._say(
                f"{program.name} ended, {kept.child.reason}; starting it again "
                f"(log: {program.log_path})"
            )
            await self._respawn(kept, backoff_s)
            if kept.stopping:
                return
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    async def _respawn(self, kept: _Kept, backoff_s: float) -> None:
        while not kept.stopping:
            await asyncio.sleep(backoff_s)
            if kept.stopping:
                return
            try:
                kept.child = self._spawn(kept.program)
                return
            except StartFailed as error:
                self._say(str(error))
                backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    def check(self) -> None:
        """Raises:
        StartFailed: a program has ended.
        """
        for kept in self._kept.values():
            if kept.child.ended.is_set() and not kept.stopping:
                raise StartFailed(
                    f"{kept.program.name} ended, {kept.child.reason} (log: {kept.program.log_path})"
                )

    async def stop(self, order: Iterable[Iterable[str]]) -> None:
        """Stop programs group by group, the members of a group together; then any that is left."""
        for group in order:
            await self._stop_all(self._kept[name] for name in group if name in self._kept)
        await self._stop_all(self._kept.values())

    async def _stop_all(self, kept: Iterable[_Kept]) -> None:
        await asyncio.gather(*(self._stop_one(each) for each in list(kept)))

    async def _stop_one(self, kept: _Kept) -> None:
        if kept.stopping and kept.child.ended.is_set():
            return
        kept.stopping = True
        if kept.keeper is not None and kept.child.ended.is_set():
            kept.keeper.cancel()
        await kept.child.stop(0.0 if self._killed else kept.program.stop_limit_s)

    def kill(self) -> None:
        """End everything now; a `stop` under way returns at once."""
        self._killed = True
        for kept in self._kept.values():
            kept.stopping = True
            kept.child.kill()


async def _poll(check: Check | None) -> None:
    while check is not None:
        if await check():
            return
        await asyncio.sleep(_CHECK_EVERY_S)

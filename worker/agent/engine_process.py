"""One engine process: started over a socket pair, heard line by line, ended with us."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable

from infra.process import end_with_parent
from infra.settings import without_secrets
from infra.wire import Malformed
from worker.engine.base import EngineSpec
from worker.engine.channel import AgentChannel, ChannelClosed
from worker.engine.messages import Cancel, FromEngine, Shutdown, Sleep, Submit, Wake

_KEPT_LINES = 20
_LINE_LIMIT = 4000
_STOP_LIMIT_S = 3.0
_LAST_LINES_LIMIT_S = 1.0


class EngineEnded(RuntimeError):
    """The engine is gone or cannot go on; the message carries its last words."""


class EngineProcess:
    """Make it with `start`; `stop` must be called whatever happens."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: AgentChannel, on_line: LineListener
    ) -> None:
        self._process = process
        self._channel = channel
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line
        self._lines = asyncio.create_task(self._hear_lines())

    @classmethod
    async def start(cls, engine: str, spec: EngineSpec, on_line: LineListener) -> EngineProcess:
        """Start `worker.engine.process` and tell it what to be; it then loads."""
        started = await cls._spawn(engine, spec.threads, on_line)
        await started.begin(spec, on_line)
        return started

    @classmethod
    async def stand_by(cls, engine: str, threads: int, on_line: LineListener) -> EngineProcess:
        """Start one that does what needs no model, says `StandingBy`, and waits for `begin`."""
        return await cls._spawn(engine, threads, on_line, "--standby")

    async def begin(self, spec: EngineSpec, on_line: LineListener) -> None:
        """Tell it what to be; it loads as soon as it has read this.

        Args:
            on_line: hears what it writes from now on.

        Raises:
            EngineEnded: it is gone.
        """
        self._on_line = on_line
        try:
            await self._channel.send(spec)
        except ChannelClosed:
            await self.stop()
            raise EngineEnded(self.last_words) from None

    @classmethod
    async def _spawn(
        cls, engine: str, threads: int, on_line: LineListener, *more: str
    ) -> EngineProcess:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "worker.engine.process"),
                *("--engine", engine, "--threads", str(threads), "--fd", str(theirs.fileno())),
                *more,
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=without_secrets(os.environ),
                preexec_fn=end_with_parent(),
                # Signals to our process group are for the agent, who ends the engine in its turn.
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, await AgentChannel.open(ours), on_line)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> None:
        """Returns when the process is gone."""
        await self._process.wait()

    async def tell(self, message: Submit | Cancel | Sleep | Wake) -> None:
        """An engine that is gone hears nothing; `hear` is where its end is noticed."""
        try:
            await self._channel.send(message)
        except ChannelClosed:
            return

    async def hear(self) -> FromEngine:
        """The next message.

        Raises:
            EngineEnded: there will be none.
        """
        try:
            message: FromEngine = await self._channel.receive(FromEngine)
        except ChannelClosed:
            await self._wait_for_end()
            raise EngineEnded(self.last_words) from None
        except Malformed as error:
            raise EngineEnded(f"the engine speaks another language: {error}") from error
        return message

    @property
    def last_words(self) -> str:
        """How the process ended and the last line it wrote."""
        code = self._process.returncode
        if code is None:
            ending = "the engine closed its channel"
        elif code < 0:
            ending = f"the engine was ended by {signal.Signals(-code).name}"
        else:
            ending = f"the engine ended with code {code}"
        return f"{ending}: {self._last_lines[-1]}" if self._last_lines else ending

    async def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await self._channel.send(Shutdown())
        except (ChannelClosed, TimeoutError):
            self._kill()
        await self._wait_for_end()
        await self._channel.close()

    async def _wait_for_end(self) -> None:
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        # A process that the engine left behind may hold the pipe open for ever.
        await asyncio.wait([self._lines], timeout=_LAST_LINES_LIMIT_S)
        self._lines.cancel()

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def _hear_lines(self) -> None:
        assert self._process.stdout is not None
        rest = ""
        while data := await self._process.stdout.read(1 << 16):
            *lines, rest = (rest + data.decode("utf-8", "replace")).split("\n")
            for line in lines:
                self._take_line(line)
            if len(rest) > _LINE_LIMIT:
                self._take_line(rest)
                rest = ""
        self._take_line(rest)

    def _take_line(self, line: str) -> None:
        line = line.rstrip()[:_LINE_LIMIT]
        if line:
            self._last_lines.append(line)
            self._on_line(line)


LineListener = Callable[[str], None]

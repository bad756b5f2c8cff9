"""A child process with a log of its own: watched, stopped in order, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from infra.last_words import last_words
from infra.limited_log import LimitedLog
from infra.process import end_with_parent

_READ_BYTES = 64 << 10


class Child:
    """A program in a session of its own; it ends when we do, and whatever it started with it.

    Made in a running event loop on the main thread; it reaps itself. Linux (it waits on a pidfd).
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: LimitedLog
    ) -> None:
        """Start the program; the log is closed when it has ended, or could not be started.

        Raises:
            OSError: it cannot be started.
        """
        self.ended = asyncio.Event()
        self.reason = ""
        """How it ended; empty while it runs."""
        self.stopping = False
        """Somebody asked it to end."""
        self._log = log
        try:
            self._output, self._process = _spawn(command, environment)
        except BaseException:
            log.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._output, self._copy_output)
        self._exit = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._exit, self._on_exit)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_line(self) -> str:
        """The last thing it wrote."""
        return self._log.last_line

    async def stop(self, limit_s: float) -> None:
        """Ask the program to end (SIGTERM to it alone, so that it can end its own children in
        order); after `limit_s` SIGKILL its whole process group. Returns when it is gone."""
        if self.ended.is_set():
            return
        self.stopping = True
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended.wait(), limit_s)
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    def kill(self) -> None:
        """SIGKILL to its process group; fine when it has ended."""
        if not self.ended.is_set():
            self.stopping = True
            os.killpg(self._process.pid, signal.SIGKILL)

    def _copy_output(self) -> bool:
        """Copy what is there; False when there is nothing now."""
        try:
            chunk = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._output)
            return False
        self._log.write(chunk)
        return True

    def _on_exit(self) -> None:
        """The program has ended and is not reaped yet, so its group number is still its own."""
        self._loop.remove_reader(self._exit)
        os.close(self._exit)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        while self._copy_output():
            pass
        self._loop.remove_reader(self._output)
        os.close(self._output)
        self._log.close()
        self.reason = self._why(code)
        self.ended.set()

    def _why(self, code: int) -> str:
        asked = "stopped on request: " if self.stopping else ""
        if code < 0:
            return f"{asked}killed by {signal.Signals(-code).name}"
        said = f": {last_words(self.last_line)}" if code and self.last_line else ""
        return f"{asked}exit code {code}{said}"


def _spawn(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a program; the descriptor gives what it writes, without blocking."""
    output, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl, no locks
        )
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(write_end)
    os.set_blocking(output, False)
    return output, process

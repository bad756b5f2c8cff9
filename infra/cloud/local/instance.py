"""One instance of the local cloud: a program in a session of its own, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from infra.cloud.base import CloudInstance, CloudInstanceState
from infra.cloud.local.limited_log import LimitedLog
from infra.process import end_with_parent

_READ_BYTES = 64 << 10


class LocalInstance:
    """Made in a running event loop, on its main thread; it reaps itself."""

    def __init__(
        self, instance_id: str, command: Sequence[str], environment: dict[str, str], log: LimitedLog
    ) -> None:
        """Start the program.

        Raises:
            OSError: it cannot be started.
        """
        self.instance_id = instance_id
        self.ended_at: float | None = None
        self.ended = asyncio.Event()
        self._log = log
        self._stopping = False
        self._reason = ""
        self._output, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl, no locks
            )
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)
        os.set_blocking(self._output, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._output, self._copy_output)
        self._exit = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._exit, self._on_exit)

    @property
    def pid(self) -> int:
        return self._process.pid

    def state(self) -> CloudInstance:
        if self.ended.is_set():
            state = CloudInstanceState.TERMINATED
        elif self._stopping:
            state = CloudInstanceState.STOPPING
        else:
            state = CloudInstanceState.RUNNING
        return CloudInstance(
            instance_id=self.instance_id,
            cloud_id=f"local-{self._process.pid}",
            state=state,
            reason=self._reason,
        )

    async def stop(self, limit_s: float) -> None:
        """Ask the program to end (SIGTERM to it alone, so that an agent can drain its engines);
        after `limit_s` SIGKILL all of its process group. Returns when it is gone."""
        if not self.ended.is_set():
            self._stopping = True
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.ended.wait(), limit_s)
            except TimeoutError:
                self.kill()
                await self.ended.wait()

    def kill(self) -> None:
        if not self.ended.is_set():
            self._stopping = True
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
        self._reason = self._why(code)
        self._log.close()
        self.ended_at = time.monotonic()
        self.ended.set()

    def _why(self, code: int) -> str:
        asked = "stopped on request: " if self._stopping else ""
        if code < 0:
            return f"{asked}killed by {signal.Signals(-code).name}"
        said = f": {self._log.last_line[:300]}" if code and self._log.last_line else ""
        return f"{asked}exit code {code}{said}"

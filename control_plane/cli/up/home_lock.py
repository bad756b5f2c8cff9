"""One `tamer up` for each home: a locked file that also says which process holds it."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from control_plane.cli.exits import CommandError
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, told apart from a later one with the same number by its start time."""

    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Holder:
        return cls(os.getpid(), _start_time(os.getpid()) or "")

    def lives(self) -> bool:
        return bool(self.started) and _start_time(self.pid) == self.started


def _start_time(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process; None when there is none (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def lock_path(settings: Settings) -> Path:
    return settings.home / "up.lock"


class HomeLock:
    """A context: the kernel releases the lock however we end; on a clean end the file goes too."""

    def __init__(self, settings: Settings) -> None:
        self._path = lock_path(settings)
        self._file: int | None = None

    def __enter__(self) -> HomeLock:
        """Raises:
        CommandError: another `tamer up` runs on this home.
        OSError: the file cannot be written.
        """
        while self._file is None:
            self._file = self._lock()
        os.ftruncate(self._file, 0)
        holder = Holder.this_process()
        os.write(self._file, json.dumps({"pid": holder.pid, "started": holder.started}).encode())
        return self

    def _lock(self) -> int | None:
        """The locked file; None when its last holder has just removed it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_ino == self._path.stat().st_ino:
                return file
        except BlockingIOError:
            os.close(file)
            raise _already_runs(self._path) from None
        except FileNotFoundError:
            os.close(file)
            return None
        os.close(file)
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._path.unlink(missing_ok=True)  # before the lock goes, so that nobody locks a dead file
        os.close(self._file)
        self._file = None


def refuse_second(settings: Settings) -> None:
    """Say early what taking the lock would say.

    Raises:
        CommandError: another `tamer up` runs on this home.
    """
    if running_holder(settings) is not None:
        raise _already_runs(lock_path(settings))


def _already_runs(path: Path) -> CommandError:
    holder = read_holder(path)
    process = f" (process {holder.pid})" if holder else ""
    return CommandError(
        f"another 'tamer up' runs on {path.parent}{process}: "
        "stop it with 'tamer down', or set TAMER_HOME to another folder"
    )


def read_holder(path: Path) -> Holder | None:
    """Who holds, or held, the lock; None where nothing legible is there."""
    try:
        written = json.loads(path.read_text())
        return Holder(int(written["pid"]), str(written["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running_holder(settings: Settings) -> Holder | None:
    """The `tamer up` that runs on this home now, if any: it holds the lock and is who it says."""
    path = lock_path(settings)
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = read_holder(path)
        return holder if holder is not None and holder.lives() else None
    finally:
        os.close(file)
    return None

"""Puts the append-only file of the embedded Valkey on the disk, once a second."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PAUSE_S = 1.0

Say = Callable[[str], None]


class DiskSync:
    """A thread that syncs what the server of a data folder has written.

    The server itself never syncs (`embedded.server_command`): so a slow disk neither stops it nor
    makes it keep acknowledged writes to itself. What a crash of the machine costs is bounded here.
    """

    def __init__(self, data_dir: Path, say: Say) -> None:
        """`say` hears that the disk refuses, once until it does not any more."""
        self._data_dir = data_dir
        self._say = say
        self._refused = False
        self._stopped = threading.Event()
        # A daemon: a disk that hangs must not keep a process from its end.
        self._thread = threading.Thread(target=self._run, name="embedded-disk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sync no more; the server syncs once by itself when it is stopped in order."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(_PAUSE_S):
            self.sync()

    def sync(self) -> None:
        """One pass; the thread makes one a second."""
        try:
            _sync_append_only_files(self._data_dir)
            self._refused = False
        except OSError as error:
            told, self._refused = self._refused, True
            if not told:
                # Where it is said may be on the same disk, or closed: syncing goes on.
                with suppress(OSError, ValueError):
                    self._say(
                        f"warning: the disk does not take the queue's file ({error}): what is "
                        "accepted now is lost if this machine goes down"
                    )


def _sync_append_only_files(data_dir: Path) -> None:
    """Return when all that the server had written is on the disk.

    Raises:
        OSError: the disk refuses.
    """
    for path in data_dir.glob("appendonlydir/*.aof"):
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # a rewrite has replaced it
            continue
        try:
            os.fdatasync(file)
        finally:
            os.close(file)

"""Chunks that have landed go to the disk as well, behind the start's back."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from queue import SimpleQueue

from infra.telemetry import logger
from worker.loader.cache_entry import CacheEntry
from worker.loader.landing import OwnLanding

_NICENESS = 15
_log = logger(__name__)


class WriteThrough:
    """A thread that gives way to all others. The landing must stay open until `join` returns."""

    def __init__(self, entry: CacheEntry, landing: OwnLanding) -> None:
        self._entry = entry
        self._landing = landing
        self._landed: SimpleQueue[int | None] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="write-through", daemon=True)
        self._thread.start()

    def landed(self, chunk: int) -> None:
        """A verified chunk is in its room."""
        self._landed.put(chunk)

    def all_landed(self) -> None:
        """No more chunks come; what waits is still written."""
        self._landed.put(None)

    def stop(self) -> None:
        """What waits is not written."""
        self._stopped = True
        self._landed.put(None)

    def join(self, limit_s: float | None = None) -> bool:
        """Wait for the end; False where it did not come."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(OSError):  # a sandbox may forbid to be nice
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self._write()
        except OSError as error:
            _log.warning(
                "the disk does not cache this model: make room, or lower TAMER_MODEL_CACHE_BYTES",
                model=self._entry.digest,
                error=str(error),
            )
            self._entry.discard()

    def _write(self) -> None:
        while (chunk := self._landed.get()) is not None:
            if self._stopped:
                return
            if self._entry.writable and not self._entry.has(chunk):
                self._entry.write(chunk, self._landing.room(chunk))
        self._entry.finish()

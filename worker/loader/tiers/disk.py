"""This machine's disk: what an earlier start left in the cache."""

from __future__ import annotations

from worker.loader.cache_entry import CacheEntry
from worker.loader.reader import ReadFailed
from worker.loader.tiers.base import Held, Miss, TierFailed


class DiskTier:
    """Reads an entry of the chunk cache, which must stay open for as long as the tier is read."""

    name = "disk"
    trusted = True
    tries = 1

    def __init__(self, entry: CacheEntry, streams: int = 8) -> None:
        self.streams = streams
        self._entry = entry

    def holds(self, chunk: int) -> Held:
        return Held.HERE if self._entry.has(chunk) else Held.NO

    def read(self, chunk: int, into: memoryview) -> None:
        if not self._entry.has(chunk):
            raise Miss(f"chunk {chunk} is not in {self._entry.folder}")
        try:
            self._entry.read(chunk, into)
        except (ReadFailed, OSError) as error:
            self._entry.forget(chunk)
            raise TierFailed(f"the disk's copy cannot be read: {error}") from error

    def broken(self, chunk: int) -> None:
        self._entry.forget(chunk)

    def close(self) -> None:
        """The entry is its cache's."""

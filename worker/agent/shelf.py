"""Packages in this worker's memory: shared by its replicas, and kept for the next ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.package_index import PackageIndex
from infra.storage.base import StorageError
from worker.agent.package_fetch import PackageFetch
from worker.loader.arena import Arena, ArenaFull
from worker.loader.landing import Landing, OwnLanding

Begin = Callable[[OwnLanding], PackageFetch]


class NoMemory(StorageError):
    """The weights do not fit beside those that are in use."""


@dataclass
class _Shelved:
    fetch: PackageFetch
    users: int = 0
    let_go_at_s: float = 0.0


class Shelf:
    """Threads may share it."""

    def __init__(self, limit_bytes: int, kept_bytes: int) -> None:
        """
        Args:
            limit_bytes: of memory, in all.
            kept_bytes: of what nobody uses.
        """
        self._arena = Arena(limit_bytes)
        self._kept_bytes = kept_bytes
        self._shelved: dict[str, _Shelved] = {}
        self._doomed: list[PackageFetch] = []
        """Closed, but an engine that ends still maps their memory."""
        self._changes = threading.RLock()

    def take(self, index: PackageIndex, header: bytes, begin: Begin) -> tuple[PackageFetch, bool]:
        """The package, and whether it was there already; `begin` starts to bring what was not.
        `let_go` must follow.

        Raises:
            NoMemory: see there.
        """
        with self._changes:
            found = self._shelved.get(index.root)
            if found is not None and found.fetch.failed:
                self._drop(index.root)
                found = None
            there = found is not None
            if found is None:
                found = _Shelved(_begun(self._room(index, header), begin))
                self._shelved[index.root] = found
            found.users += 1
            return found.fetch, there

    def let_go(self, fetch: PackageFetch) -> None:
        """A user needs it no more. What is whole is kept while there is room for it."""
        with self._changes:
            root = fetch.landing.index.root
            found = self._shelved.get(root)
            if found is None or found.fetch is not fetch:
                return  # it had failed, and another came in its place
            found.users -= 1
            found.let_go_at_s = time.monotonic()
            if found.users == 0 and fetch.landing.missing():
                self._drop(root)
            while self._idle_bytes > self._kept_bytes:
                self._drop_oldest()

    def close(self) -> None:
        with self._changes:
            for root in list(self._shelved):
                self._drop(root)

    def _room(self, index: PackageIndex, header: bytes) -> OwnLanding:
        while True:
            self._doomed = [each for each in self._doomed if not each.landing.close()]
            try:
                return Landing.create(index, header, self._arena)
            except ArenaFull as error:
                if not self._drop_oldest():
                    raise NoMemory(f"{error} (TAMER_WEIGHTS_MEMORY_BYTES)") from error

    @property
    def _idle_bytes(self) -> int:
        idle = [each for each in self._shelved.values() if not each.users]
        return sum(each.fetch.landing.index.data_bytes for each in idle)

    def _drop_oldest(self) -> bool:
        """What was let go longest ago; False where everything is used."""
        idle = {root: each for root, each in self._shelved.items() if not each.users}
        if not idle:
            return False
        self._drop(min(idle, key=lambda root: idle[root].let_go_at_s))
        return True

    def _drop(self, root: str) -> None:
        dropped = self._shelved.pop(root).fetch
        if not dropped.close():
            self._doomed.append(dropped)


def _begun(landing: OwnLanding, begin: Begin) -> PackageFetch:
    try:
        return begin(landing)
    except BaseException:
        landing.close()
        raise

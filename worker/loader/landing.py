"""The bytes of one package in memory, and which of them are there.

Whoever owns the bytes makes a landing and fills it, chunk by chunk; other processes of the same
user open it by its path and read a chunk once it has landed. Two memfds carry it: the weights are a
part of an arena; a ledger says where that is, what belongs there, and which chunks have landed.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path

from infra.package_index import PackageIndex
from worker.loader.arena import Arena
from worker.loader.ledger import LandingFailed, Ledger

_LANDED = 1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 50e-6, 2e-3


class _Mapping(mmap.mmap):
    """Memory of another process; while a view of it lives, so does its entry in the ledger."""

    ledger: Ledger


class Landing:
    """Made by `create` in the process that fills it, by `open` in others."""

    def __init__(self, ledger: Ledger, data: memoryview) -> None:
        self.index = ledger.index
        self.header = ledger.header
        self._ledger = ledger
        self._data = data

    @classmethod
    def create(cls, index: PackageIndex, header: bytes, arena: Arena) -> OwnLanding:
        """Room for a package, all of it missing yet.

        Args:
            header: the bytes of the file before its data, checked.

        Raises:
            ArenaFull: the arena has no such room.
        """
        return OwnLanding(index, header, arena)

    @classmethod
    def open(cls, path: str) -> Landing:
        """Map what another process (or this one) fills; its memory cannot be written here.

        Raises:
            LandingFailed: there is no landing at that path any longer.
        """
        try:
            ledger = Ledger.open(path)
            with Path(ledger.arena_path).open("rb") as arena:
                mapped = _Mapping(
                    arena.fileno(),
                    max(1, ledger.index.data_bytes),
                    prot=mmap.PROT_READ,
                    offset=ledger.offset,
                )
        except (OSError, ValueError) as error:
            raise LandingFailed(f"the weights at {path} are gone: {error}") from error
        mapped.ledger = ledger
        return cls(ledger, memoryview(mapped)[: ledger.index.data_bytes])

    @property
    def path(self) -> str:
        return self._ledger.path

    @property
    def landed_bytes(self) -> int:
        states = self._ledger.states
        index = self.index
        landed = bytes(states).count(_LANDED) * index.chunk_bytes
        if len(states) and states[-1] == _LANDED:
            begin, end = index.chunk_range(len(states) - 1)
            landed -= index.chunk_bytes - (end - begin)
        return landed

    def missing(self) -> list[int]:
        """Chunks that have not landed, in their order."""
        return [chunk for chunk, state in enumerate(self._ledger.states) if state != _LANDED]

    def has(self, begin: int, end: int) -> bool:
        """Whether these bytes of the data have landed."""
        chunks = self.index.chunks_of(begin, end)
        states = self._ledger.states[chunks.start : chunks.stop]
        return bytes(states).count(_LANDED) == len(chunks)

    def wait(self, begin: int, end: int, limit_s: float) -> memoryview:
        """These bytes of the data, once all of them have landed.

        Args:
            limit_s: how long nothing at all may land.

        Raises:
            LandingFailed: they will not, or nothing has landed for that long.
        """
        pause, landed, since = _FIRST_PAUSE_S, -1, 0.0
        while not self.has(begin, end):
            self._ledger.require_hope()
            if self.landed_bytes != landed:
                landed, since = self.landed_bytes, time.monotonic()
            elif time.monotonic() - since > limit_s:
                raise LandingFailed(
                    f"no weights have come for {limit_s:.0f} s: "
                    f"{landed} of {self.index.data_bytes} bytes are there"
                )
            # Kernels have no door to ring across processes that a path could open; a byte is read
            # in less than a microsecond.
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return self._data[begin:end]


class OwnLanding(Landing):
    """A landing in the process that fills it; threads may share one."""

    def __init__(self, index: PackageIndex, header: bytes, arena: Arena) -> None:
        self._arena = arena
        self._part = arena.take(index.data_bytes)
        super().__init__(
            Ledger.create(index, header, arena.path, arena.place_of(self._part)), self._part.memory
        )

    def room(self, chunk: int) -> memoryview:
        """Where a chunk's bytes go: writable, beginning on a block, faulted in.

        Raises:
            ArenaFull: the machine has no memory left.
        """
        begin, end = self.index.chunk_range(chunk)
        self._arena.fault_in(self._part, begin, end)
        return self._data[begin:end]

    def landed(self, chunk: int) -> None:
        """The chunk's bytes are in their room and are the right ones."""
        self._ledger.states[chunk] = _LANDED

    def fail(self, reason: str) -> None:
        """What has not landed will not: whoever waits for it is told why. The first reason
        stays."""
        self._ledger.fail(reason)

    def close(self) -> bool:
        """Give the memory back to the arena, unless a `Landing.open` still has it: then False, and
        everything stays."""
        closed = self._ledger.close()
        if closed:
            self._arena.give(self._part)
        return closed

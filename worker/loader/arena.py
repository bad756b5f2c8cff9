"""Memory that weights land in: taken once, faulted in before it is needed, and used again.

The first touch of a page costs more than reading it from a good disk: the kernel finds and clears
it. So an arena keeps what it has once touched (`warm`) and hands it out again. It is one mapping,
sparse and larger than it may ever fill, so that a part always finds addresses in one piece; what
counts against the limit is memory.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
import weakref
from dataclasses import dataclass

UNIT_BYTES = 2 << 20
"""Parts are whole units: a large page of most processors."""
_SPARSENESS = 4
_POPULATE_WRITE = 23
_HUGE_PAGE = 14

_libc = ctypes.CDLL(None, use_errno=True)


class ArenaFull(MemoryError):
    """What is asked for, beside what is in use, is above the limit."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the arena."""

    offset: int
    """From the arena's first unit."""
    memory: memoryview
    """As many bytes as were asked for, writable, beginning on a unit."""


class Arena:
    """Threads may share one.

    Args:
        limit_bytes: of memory, in use or warm; rounded up to units.
        shared: whether other processes can map it (a memfd). Memory of this process alone comes in
            half the time.

    Raises:
        ArenaFull: the system does not give so many addresses.
    """

    def __init__(self, limit_bytes: int, shared: bool = True) -> None:
        self._limit = _units(limit_bytes)
        # Of each unit, whether it is somebody's, and whether it has memory.
        self._used = bytearray(self._limit * _SPARSENESS)
        self._warm = bytearray(self._limit * _SPARSENESS)
        self._shared = shared
        self._fd = -1
        try:
            self._mapped = self._map(len(self._used) * UNIT_BYTES)
        except OSError as error:
            raise ArenaFull(f"this machine maps no memory for weights: {error}") from error
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
        self._address = address
        # Large pages begin on their size.
        self._skip = -address % UNIT_BYTES
        if shared:
            # Refused where there are none; small ones do as well. A private arena is faulted in
            # while somebody waits, and then the kernel may have to make large pages first: on one
            # machine 0.1 to 2.3 CPU seconds a GB, against 0.3 for small ones.
            self._advise(0, len(self._used), _HUGE_PAGE)
        self._changes = threading.Lock()

    @property
    def path(self) -> str:
        """Where processes of this user find the file of a shared arena while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def place_of(self, part: Part) -> int:
        """Where a part begins in the file: on a page."""
        return part.offset + self._skip

    @property
    def limit_bytes(self) -> int:
        return self._limit * UNIT_BYTES

    @property
    def used_bytes(self) -> int:
        return sum(self._used) * UNIT_BYTES

    @property
    def warm_bytes(self) -> int:
        """Memory that the arena holds, in use or not."""
        return sum(self._warm) * UNIT_BYTES

    def take(self, size_bytes: int) -> Part:
        """A part that is nobody else's. Its content is undefined, and not all of it may be warm:
        `fault_in` what is written next, or `warm_up` the arena before.

        Raises:
            ArenaFull: see there.
        """
        count = _units(size_bytes)
        with self._changes:
            first = self._find(count)
            self._used[first : first + count] = b"\1" * count
            self._make_room()
        begin = first * UNIT_BYTES
        place = begin + self._skip
        return Part(begin, memoryview(self._mapped)[place : place + size_bytes])

    def fault_in(self, part: Part, begin: int, end: int) -> None:
        """Give these bytes of a part memory, if they have none; what is there stays. Threads may
        do it for pieces of one part.

        Raises:
            ArenaFull: the machine has no memory left.
        """
        units = range((part.offset + begin) // UNIT_BYTES, _units(part.offset + end))
        for unit in units:
            if not self._warm[unit]:
                self._populate(unit)
                self._warm[unit] = 1

    def give(self, part: Part) -> None:
        """The part is free again, and stays warm. Nobody may read it any longer, here or in another
        process."""
        first, count = part.offset // UNIT_BYTES, _units(len(part.memory))
        with self._changes:
            self._used[first : first + count] = bytes(count)

    def warm_up(self, size_bytes: int) -> None:
        """Fault in so much that the next `take` of that size touches nothing new.

        Raises:
            ArenaFull: see there.
        """
        part = self.take(size_bytes)
        try:
            self.fault_in(part, 0, len(part.memory))
        finally:
            self.give(part)

    def _map(self, size_bytes: int) -> mmap.mmap:
        if not self._shared:
            # One unit more, so that units can begin on large pages.
            kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
            return mmap.mmap(-1, size_bytes + UNIT_BYTES, kind)
        self._fd = os.memfd_create("tamer-arena")
        weakref.finalize(self, os.close, self._fd)
        os.ftruncate(self._fd, size_bytes + UNIT_BYTES)
        return mmap.mmap(self._fd, size_bytes + UNIT_BYTES)

    def _find(self, count: int) -> int:
        """The first unit of the warmest free run."""
        free = self._limit - sum(self._used)
        if count > free:
            raise ArenaFull(
                f"{count * UNIT_BYTES >> 20} MiB of memory for weights are needed, "
                f"{free * UNIT_BYTES >> 20} of {self.limit_bytes >> 20} MiB are free: "
                "raise the limit, or run fewer models on this machine"
            )
        best, most = -1, -1
        taken = sum(self._used[:count])
        warm = sum(self._warm[:count])
        for first in range(len(self._used) - count + 1):
            if not taken and warm > most:
                best, most = first, warm
            if first + count < len(self._used):
                taken += self._used[first + count] - self._used[first]
                warm += self._warm[first + count] - self._warm[first]
        if best < 0:
            raise ArenaFull("the memory for weights is in pieces: stop a model of this machine")
        return best

    def _make_room(self) -> None:
        """Let go of warm memory that is nobody's where there would be too much."""
        excess = sum(used | warm for used, warm in zip(self._used, self._warm, strict=True))
        excess -= self._limit
        for unit in range(len(self._warm)):
            if excess <= 0:
                return
            if self._warm[unit] and not self._used[unit]:
                advice = mmap.MADV_REMOVE if self._shared else mmap.MADV_DONTNEED
                self._advise(unit, 1, advice)
                self._warm[unit] = 0
                excess -= 1

    def _populate(self, unit: int) -> None:
        failure = self._advise(unit, 1, _POPULATE_WRITE)
        if failure == errno.EINVAL:
            # Before Linux 5.14. Nobody has written there yet.
            begin = unit * UNIT_BYTES + self._skip
            for place in range(begin, begin + UNIT_BYTES, mmap.PAGESIZE):
                self._mapped[place] = 0
        elif failure:
            raise ArenaFull(f"this machine has no memory for weights: {os.strerror(failure)}")

    def _advise(self, first: int, count: int, advice: int) -> int:
        """Like `mmap.madvise`, which would keep other threads from running meanwhile. 0, or why it
        failed."""
        address = ctypes.c_void_p(self._address + self._skip + first * UNIT_BYTES)
        failed = _libc.madvise(address, ctypes.c_size_t(count * UNIT_BYTES), advice)
        return ctypes.get_errno() if failed else 0


def _units(size_bytes: int) -> int:
    return max(1, -(-size_bytes // UNIT_BYTES))

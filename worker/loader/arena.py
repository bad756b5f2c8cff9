"""Memory that weights land in: taken once, faulted in before it is needed, and used again.

The first touch of a page costs more than reading it from a good disk: the kernel finds and clears
it. So an arena keeps what it has once touched (`warm`) and hands it out again. It is one memfd, sparse
and larger than it may ever fill, so that another process can map a part of it, and a part always
finds addresses in one piece; what counts against the limit is memory.
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
_POPULATE_BYTES = 64 << 20
"""At a time: a part that is given back, or a caller who leaves, need not wait for all of it."""

_libc = ctypes.CDLL(None, use_errno=True)


class ArenaFull(MemoryError):
    """What is asked for, beside what is in use, is above the limit."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the arena."""

    offset: int
    """In the arena's file."""
    memory: memoryview
    """As many bytes as were asked for, writable, beginning on a unit."""


class Arena:
    """Threads may share one.

    Args:
        limit_bytes: of memory, in use or warm; rounded up to units.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = _units(limit_bytes)
        # Of each unit, whether it is somebody's, and whether it has memory.
        self._used = bytearray(self._limit * _SPARSENESS)
        self._warm = bytearray(self._limit * _SPARSENESS)
        size = len(self._used) * UNIT_BYTES
        self._fd = os.memfd_create("tamer-arena")
        weakref.finalize(self, os.close, self._fd)
        os.ftruncate(self._fd, size)
        self._mapped = mmap.mmap(self._fd, size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
        # Refused where the kernel has no large pages for shared memory; small ones do as well.
        self._advise(0, len(self._used), _HUGE_PAGE)
        self._changes = threading.Lock()

    @property
    def path(self) -> str:
        """Where processes of this user find the file while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

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
        """A part that is nobody else's, faulted in; its content is undefined.

        Raises:
            ArenaFull: see there.
        """
        count = _units(size_bytes)
        with self._changes:
            first = self._find(count)
            self._use(first, count)
        begin = first * UNIT_BYTES
        part = Part(begin, memoryview(self._mapped)[begin : begin + size_bytes])
        try:
            self._fault_in(first, count)
        except ArenaFull:
            self.give(part)
            raise
        return part

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
        self.give(self.take(size_bytes))

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

    def _use(self, first: int, count: int) -> None:
        """Mark a run as used and warm, and let go of warm memory elsewhere that is now too much."""
        self._used[first : first + count] = b"\1" * count
        self._warm[first : first + count] = b"\1" * count
        excess = sum(self._warm) - self._limit
        for unit in range(len(self._warm)):
            if excess <= 0:
                return
            if self._warm[unit] and not self._used[unit]:
                self._mapped.madvise(mmap.MADV_REMOVE, unit * UNIT_BYTES, UNIT_BYTES)
                self._warm[unit] = 0
                excess -= 1

    def _fault_in(self, first: int, count: int) -> None:
        step = _POPULATE_BYTES // UNIT_BYTES
        for start in range(first, first + count, step):
            units = min(step, first + count - start)
            failure = self._advise(start, units, _POPULATE_WRITE)
            if failure == errno.EINVAL:
                self._touch(start * UNIT_BYTES, (start + units) * UNIT_BYTES)
            elif failure:
                raise ArenaFull(f"this machine has no memory for weights: {os.strerror(failure)}")

    def _touch(self, begin: int, end: int) -> None:
        """What kernels before 5.14 need instead."""
        for place in range(begin, end, mmap.PAGESIZE):
            self._mapped[place] = 0

    def _advise(self, first: int, count: int, advice: int) -> int:
        """Like `mmap.madvise`, which would keep other threads from running meanwhile. 0, or why it
        failed."""
        address = ctypes.c_void_p(self._address + first * UNIT_BYTES)
        failed = _libc.madvise(address, ctypes.c_size_t(count * UNIT_BYTES), advice)
        return ctypes.get_errno() if failed else 0


def _units(size_bytes: int) -> int:
    return max(1, -(-size_bytes // UNIT_BYTES))

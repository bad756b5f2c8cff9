"""Parts of stored files: a start reads a model in an order, and into a place, of its own."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from infra.storage.base import Damaged, NotStored, StorageAway

Slow = Callable[[], None]


class RangeRead(Protocol):
    """One part on its way."""

    def run(self, slow_after_s: float | None = None, slow: Slow | None = None) -> None:
        """Fill the memory; returns when it is full.

        Args:
            slow: called once, if it is not full after `slow_after_s`. Must be quick.

        Raises:
            NotStored: the file is not there.
            Damaged: it is another file by now, or shorter than it should be.
            StorageDenied: we may not read it.
            StorageAway: no answer, or none of use, although it was asked several times.
        """

    def cancel(self) -> None:
        """From any thread: `run` raises StorageAway within moments, and writes no more."""


class RangedFile(Protocol):
    """A stored file; threads may read it at once."""

    where: str
    """As errors name it."""
    size_bytes: int

    def request(self, begin: int, into: memoryview) -> RangeRead:
        """Read the bytes from `begin` on that fill `into`; nothing happens before `run`."""

    def read(self, begin: int, into: memoryview) -> None:
        """`request`, run."""

    def close(self) -> None:
        """End what is on its way."""


class DirectoryFile:
    """`RangedFile` of this machine.

    Raises:
        NotStored: there is no such file.
        Damaged: it has another size.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.where = str(path)
        self.size_bytes = size_bytes
        try:
            self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotStored(f"nothing lies at {path}: import the model again") from error
        # With the last read that knows it: another file may get its number.
        weakref.finalize(self, os.close, self.file)
        self.closed = False
        found_bytes = os.fstat(self.file).st_size
        if found_bytes != size_bytes:
            raise Damaged(
                f"{path} has {found_bytes} bytes and should have {size_bytes}: import it again"
            )

    def request(self, begin: int, into: memoryview) -> RangeRead:
        return _DirectoryRead(self, begin, into)

    def read(self, begin: int, into: memoryview) -> None:
        self.request(begin, into).run()

    def close(self) -> None:
        self.closed = True


class _DirectoryRead:
    def __init__(self, whole: DirectoryFile, begin: int, into: memoryview) -> None:
        self._whole = whole
        self._begin = begin
        self._into = into
        self._cancelled = False

    def run(
        self,
        slow_after_s: float | None = None,  # noqa: ARG002 - a disk has no second stream
        slow: Slow | None = None,  # noqa: ARG002
    ) -> None:
        got = 0
        while got < len(self._into):
            if self._cancelled or self._whole.closed:
                raise StorageAway(f"{self._whole.where} is not read any more")
            try:
                count = os.preadv(self._whole.file, [self._into[got:]], self._begin + got)
            except OSError as error:
                raise StorageAway(f"{self._whole.where} cannot be read: {error}") from error
            if count == 0:
                raise Damaged(f"{self._whole.where} ends at {self._begin + got}: import it again")
            got += count

    def cancel(self) -> None:
        self._cancelled = True

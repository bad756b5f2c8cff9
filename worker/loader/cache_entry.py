"""One package in the chunk cache: a package directory, or one that is on its way to be.

While chunks are missing it lies at `.partial-<digest>`, and `.landed-<digest>` beside it has a byte
for each chunk that was written. A chunk's byte follows its data, so a process may be killed at any
line; what a power cut does to the order of writes is found by the checksum that every read is held
against. The whole package is renamed to `<digest>`, where the tree cache keeps its trees too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.package_index import PackageIndex
from infra.safetensors import WEIGHTS_FILE

PARTIAL = ".partial-"
LANDED = ".landed-"
USED = ".used-"
_LANDED_BYTE = b"\1"


class CacheEntry:
    """Opened by `ChunkCache`. One process at a time writes what is partial; others read."""

    def __init__(self, cache: Path, digest: str, index: PackageIndex, used: int) -> None:
        """`used`: an open file that keeps the entry from being evicted."""
        self.index = index
        self.digest = digest
        self._cache = cache
        self._used = used
        self._ledger = -1
        self._file = -1
        self.landed = bytearray(len(index.chunks))
        self.writable = False

    def open(self, header: bytes, files: dict[str, bytes]) -> None:
        """As it was left, or new.

        Args:
            header, files: what makes a directory of the chunks, checked.

        Raises:
            OSError: the disk does not take it.
        """
        if self._open_whole():
            return
        ledger = self._cache / f"{LANDED}{self.digest}"
        self._ledger = os.open(ledger, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.writable = self._lock_ledger(ledger)
        if self._open_whole():  # by whoever had the lock
            self._let_go_of_ledger()
            return
        if not self._lies_there(header, files):
            if not self.writable:
                return
            self._begin(header, files)
        self._file = os.open(self.folder / WEIGHTS_FILE, os.O_RDWR | os.O_CLOEXEC)
        landed = os.pread(self._ledger, len(self.index.chunks), 0)
        self.landed[: len(landed)] = landed

    @property
    def folder(self) -> Path:
        whole = self._cache / self.digest
        return whole if whole.is_dir() else self._cache / f"{PARTIAL}{self.digest}"

    @property
    def whole(self) -> bool:
        return (self._cache / self.digest).is_dir()

    def has(self, chunk: int) -> bool:
        return self._file >= 0 and self.landed[chunk] == 1

    def read(self, chunk: int, into: memoryview) -> int:
        """Bytes that could be read. Raises OSError."""
        begin, _ = self.index.chunk_range(chunk)
        got = 0
        while got < len(into):
            count = os.preadv(self._file, [into[got:]], self.index.header_bytes + begin + got)
            if count == 0:
                break
            got += count
        return got

    def forget(self, chunk: int) -> None:
        """It is broken here; `write` may mend it."""
        self.landed[chunk] = 0
        if self._ledger >= 0 and self.writable:
            os.pwrite(self._ledger, b"\0", chunk)

    def write(self, chunk: int, data: memoryview) -> None:
        """Keep a verified chunk. Raises OSError: the disk is full, or broken."""
        position = self.index.header_bytes + self.index.chunk_range(chunk)[0]
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], position + written)
        if self._ledger >= 0:
            os.pwrite(self._ledger, _LANDED_BYTE, chunk)
        self.landed[chunk] = 1

    def finish(self) -> None:
        """Everything has landed: make it the package. Raises OSError."""
        if self._ledger < 0 or not self.writable or 0 in self.landed:
            return
        for path in self.folder.iterdir():
            _sync(path)
        _sync(self.folder)
        self.folder.rename(self._cache / self.digest)
        _sync(self._cache)
        self._let_go_of_ledger()
        # Its bytes are in a landing: a second copy in the page cache would push others out.
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def discard(self) -> None:
        """Nothing of what is partial is of use, or the disk needs its room."""
        if self._ledger >= 0 and self.writable:
            os.ftruncate(self._ledger, 0)
            shutil.rmtree(self._cache / f"{PARTIAL}{self.digest}", ignore_errors=True)
            self._let_go_of_ledger()
        self.landed = bytearray(len(self.index.chunks))
        self.writable = False

    def close(self) -> None:
        for file in (self._file, self._ledger, self._used):
            if file >= 0:
                os.close(file)
        self._file = self._ledger = self._used = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open_whole(self) -> bool:
        if not self.whole:
            return False
        self._file = os.open(self.folder / WEIGHTS_FILE, os.O_RDWR | os.O_CLOEXEC)
        self.landed = bytearray(_LANDED_BYTE * len(self.index.chunks))
        self.writable = True  # a broken chunk may be mended in its place
        return True

    def _lock_ledger(self, path: Path) -> bool:
        while True:
            try:
                fcntl.flock(self._ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if path.exists() and path.stat().st_ino == os.fstat(self._ledger).st_ino:
                return True
            os.close(self._ledger)  # it was another's, who has finished
            self._ledger = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _let_go_of_ledger(self) -> None:
        if self.writable:
            (self._cache / f"{LANDED}{self.digest}").unlink(missing_ok=True)
        os.close(self._ledger)
        self._ledger = -1

    def _lies_there(self, header: bytes, files: dict[str, bytes]) -> bool:
        """Whether what was begun is this package, so far as it is there."""
        partial = self._cache / f"{PARTIAL}{self.digest}"
        try:
            with (partial / WEIGHTS_FILE).open("rb") as weights:
                same = weights.read(len(header)) == header
            size_bytes = (partial / WEIGHTS_FILE).stat().st_size
            same = same and size_bytes == self.index.file_bytes
            return same and all((partial / name).read_bytes() == files[name] for name in files)
        except FileNotFoundError:
            return False

    def _begin(self, header: bytes, files: dict[str, bytes]) -> None:
        os.ftruncate(self._ledger, 0)
        partial = self._cache / f"{PARTIAL}{self.digest}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o755)
        for name, body in files.items():
            (partial / name).write_bytes(body)
        with (partial / WEIGHTS_FILE).open("xb") as weights:
            weights.write(header)
            weights.truncate(self.index.file_bytes)
        os.ftruncate(self._ledger, len(self.index.chunks))


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

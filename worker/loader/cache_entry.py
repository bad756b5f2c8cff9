"""One package in the chunk cache: a package directory, with holes while chunks are missing.

For so long a ledger beside it, `.landed-<digest>`, has a byte for each chunk that was written. A
byte follows its chunk, so a process may be killed at any line; what a power cut does to the order
of writes is found by the checksum that every read is held against. The ledger goes when all is
there and synced: a directory without one is whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.package_index import PackageIndex
from infra.safetensors import WEIGHTS_FILE
from worker.loader.reader import FileCut, LocalFile

LANDED = ".landed-"
USED = ".used-"
_LANDED_BYTE = b"\1"


class CacheEntry:
    """Opened by `ChunkCache`. One process at a time writes what is partial; others read."""

    def __init__(self, cache: Path, digest: str, index: PackageIndex, used: int) -> None:
        """`used`: an open file that keeps the entry from being evicted."""
        self.index = index
        self.digest = digest
        self.folder = cache / digest
        self.landed = bytearray(len(index.chunks))
        self.writable = False
        """What is missing, or broken, may be written by this process."""
        self._ledger_path = cache / f"{LANDED}{digest}"
        self._used = used
        self._ledger = -1
        self._file = -1
        self._whole_file: LocalFile | None = None
        """Read directly; what is still written is not."""

    def open(self, header: bytes, files: dict[str, bytes]) -> None:
        """As it was left, or new.

        Args:
            header, files: what makes a directory of the chunks, checked.

        Raises:
            OSError: the disk does not take it.
        """
        if not self.folder.is_dir() or self._ledger_path.exists():
            self.writable = self._lock_ledger()
        else:
            self.writable = True  # whole: a broken chunk may be mended in its place
        if not self._lies_there(header, files):
            if not self.writable:
                return
            self._begin(header, files)
        self._file = os.open(self.folder / WEIGHTS_FILE, os.O_RDWR | os.O_CLOEXEC)
        self._read_ledger()
        if self.whole:
            self._whole_file = LocalFile(self.folder / WEIGHTS_FILE, self.index.file_bytes)

    @property
    def whole(self) -> bool:
        return self._ledger < 0 and 0 not in self.landed

    def has(self, chunk: int) -> bool:
        return self._file >= 0 and self.landed[chunk] == 1

    def read(self, chunk: int, into: memoryview) -> None:
        """Raises ReadFailed, OSError."""
        position = self.index.header_bytes + self.index.chunk_range(chunk)[0]
        if self._whole_file is not None:
            self._whole_file.read(position, into)
            return
        got = 0
        while got < len(into):
            count = os.preadv(self._file, [into[got:]], position + got)
            if count == 0:
                raise FileCut(f"{self.folder / WEIGHTS_FILE} ends at byte {position + got}")
            got += count

    def forget(self, chunk: int) -> None:
        """It is broken here; `write` may mend it."""
        self.landed[chunk] = 0
        if self._ledger >= 0 and self.writable:
            # On a broken disk it stays; its checksum finds it out the next time, too.
            with suppress(OSError):
                os.pwrite(self._ledger, b"\0", chunk)

    def write(self, chunk: int, data: memoryview) -> None:
        """Keep a verified chunk. Raises OSError: the disk is full, or broken."""
        self._whole_file = None  # it would find that the file has changed
        position = self.index.header_bytes + self.index.chunk_range(chunk)[0]
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], position + written)
        if self._ledger >= 0:
            os.pwrite(self._ledger, _LANDED_BYTE, chunk)
        self.landed[chunk] = 1

    def finish(self) -> None:
        """Everything has landed: make it last. Raises OSError."""
        if self._ledger < 0 or not self.writable or 0 in self.landed:
            return
        for path in self.folder.iterdir():
            _sync(path)
        _sync(self.folder)
        self._ledger_path.unlink()
        _sync(self._ledger_path.parent)
        os.close(self._ledger)
        self._ledger = -1
        # Its bytes are in a landing: a second copy in the page cache would push others out.
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def discard(self) -> None:
        """The disk needs the room of what is partial; the small files stay, engines read them."""
        if self._ledger >= 0 and self.writable:
            os.ftruncate(self._ledger, 0)
            os.ftruncate(self._file, 0)
            (self.folder / WEIGHTS_FILE).unlink(missing_ok=True)
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

    def _lock_ledger(self) -> bool:
        while True:
            self._ledger = os.open(self._ledger_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if _is_at(self._ledger, self._ledger_path):
                return True
            os.close(self._ledger)  # it was another's, who has finished

    def _read_ledger(self) -> None:
        if self._ledger < 0:
            self.landed = bytearray(_LANDED_BYTE * len(self.index.chunks))
        else:
            landed = os.pread(self._ledger, len(self.index.chunks), 0)
            self.landed[: len(landed)] = landed

    def _lies_there(self, header: bytes, files: dict[str, bytes]) -> bool:
        """Whether what was begun is this package, so far as it is there."""
        try:
            with (self.folder / WEIGHTS_FILE).open("rb") as weights:
                same = weights.read(len(header)) == header
                same = same and weights.seek(0, os.SEEK_END) == self.index.file_bytes
            return same and all((self.folder / name).read_bytes() == files[name] for name in files)
        except FileNotFoundError:
            return False

    def _begin(self, header: bytes, files: dict[str, bytes]) -> None:
        if self._ledger < 0 and not self._lock_ledger():
            raise BlockingIOError("another process mends what lies there")
        os.ftruncate(self._ledger, 0)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o755)
        for name, body in files.items():
            (self.folder / name).write_bytes(body)
        with (self.folder / WEIGHTS_FILE).open("xb") as weights:
            weights.write(header)
            weights.truncate(self.index.file_bytes)
        os.ftruncate(self._ledger, len(self.index.chunks))


def _is_at(file: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file).st_ino
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

"""Positional reads of a local file, straight from the disk into memory where that pays.

A direct read (O_DIRECT) lets the disk write into our memory: no copy, and no page cache that throws
out what others need. Whether a mount can do that is found out once. What is in the page cache
already is copied from there, which is faster than any disk.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
import weakref
from pathlib import Path

from infra.package_index import BLOCK_BYTES

_libc = ctypes.CDLL(None, use_errno=True)
_direct_mounts: dict[int, bool] = {}
_probing = threading.Lock()


class ReadFailed(RuntimeError):
    """A local file cannot be read; the message names it and the place in it."""


class FileCut(ReadFailed):
    """The file is shorter than it has to be."""


class FileChanged(ReadFailed):
    """The file is not what it was when it was opened."""


class LocalFile:
    """Threads may read it at once; the system's calls do not keep each other, or Python, waiting.

    Args:
        size_bytes: that it has to have.

    Raises:
        ReadFailed, FileCut: it cannot be opened, or has another size.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        try:
            self._buffered = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ReadFailed(f"{path} cannot be opened: {error.strerror}") from error
        weakref.finalize(self, os.close, self._buffered)
        state = os.fstat(self._buffered)
        if state.st_size != size_bytes:
            raise FileCut(f"{path} has {state.st_size} bytes and should have {size_bytes}")
        self._version = _version_of(state)
        self._direct = self._open_direct(state.st_dev)
        # Of the page cache: it is asked, never touched. ctypes takes private mappings only.
        self._mapped = mmap.mmap(self._buffered, size_bytes, access=mmap.ACCESS_COPY)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))

    @property
    def is_direct(self) -> bool:
        """Whether what is not in the page cache is read around it."""
        return self._direct is not None

    def read(self, offset: int, into: memoryview) -> None:
        """Fill `into` with the file's bytes from `offset` on. Offset, length and address are whole
        blocks where reads are to be direct; others are buffered.

        Raises:
            ReadFailed, FileCut, FileChanged: see there.
        """
        descriptor = self._descriptor(offset, into)
        done = 0
        while done < len(into):
            try:
                count = os.preadv(descriptor, [into[done:]], offset + done)
            except OSError as error:
                if error.errno == errno.EINVAL and descriptor == self._direct:
                    # The mount wants larger blocks than ours.
                    descriptor = self._buffered
                    continue
                raise ReadFailed(
                    f"{self.path} cannot be read at byte {offset + done}: {error.strerror}"
                ) from error
            if not count:
                raise FileCut(f"{self.path} ends at byte {offset + done}: it was cut")
            done += count
            if done % BLOCK_BYTES:
                # Of a direct read, the rest would be one that is not of whole blocks.
                descriptor = self._buffered
        if _version_of(os.fstat(self._buffered)) != self._version:
            raise FileChanged(f"{self.path} was changed while it was read")

    def is_cached(self, offset: int, size_bytes: int) -> bool:
        """Whether all of these bytes are in the page cache; True where the system does not tell."""
        begin = offset // BLOCK_BYTES * BLOCK_BYTES
        pages = (ctypes.c_ubyte * (-(-(offset + size_bytes - begin) // mmap.PAGESIZE)))()
        address = ctypes.c_void_p(self._address + begin)
        failed = _libc.mincore(address, ctypes.c_size_t(offset + size_bytes - begin), pages)
        return bool(failed) or 0 not in bytes(pages)

    def _descriptor(self, offset: int, into: memoryview) -> int:
        if self._direct is None or (offset | len(into)) % BLOCK_BYTES:
            return self._buffered
        return self._buffered if self.is_cached(offset, len(into)) else self._direct

    def _open_direct(self, device: int) -> int | None:
        with _probing:
            if not _direct_mounts.get(device, True):
                return None
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
            except OSError:
                _direct_mounts[device] = False
                return None
            weakref.finalize(self, os.close, descriptor)
            if device not in _direct_mounts:
                _direct_mounts[device] = _reads_directly(descriptor)
            return descriptor if _direct_mounts[device] else None


def _reads_directly(descriptor: int) -> bool:
    block = mmap.mmap(-1, BLOCK_BYTES)
    try:
        os.preadv(descriptor, [block], 0)
    except OSError:
        return False
    return True


def _version_of(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns

"""What the kernel keeps of a file: put out before a cold read, and looked at, not believed."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


class StillCached(RuntimeError):
    """The kernel keeps pages of a file that must be cold (another process has it mapped?)."""


def evict(file: Path) -> None:
    """Put a file out of the page cache.

    Raises:
        StillCached: some of it is there afterwards.
    """
    with _opened(file) as descriptor:
        os.fsync(descriptor)  # dirty pages would stay
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    share = resident(file)
    if share > 0:
        raise StillCached(f"{share:.1%} of {file.name} is still in the page cache")


def warm(file: Path) -> None:
    """Read a file, so that the page cache holds it."""
    buffer = bytearray(8 << 20)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(buffer):
            continue


def resident(file: Path) -> float:
    """The share of a file's pages that the page cache holds (mincore)."""
    size = file.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    flags = ctypes.create_string_buffer(pages)
    with _opened(file) as descriptor:
        # Private and writable, since ctypes takes the address of nothing else.
        mapped = mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        address = ctypes.c_char.from_buffer(mapped)
        try:
            if _libc.mincore(ctypes.addressof(address), size, flags):
                raise OSError(ctypes.get_errno(), "mincore")
        finally:
            del address
            mapped.close()
    return sum(flag & 1 for flag in flags.raw) / pages


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

"""What the hardware allows: direct reads by several threads into memory that is there already, and
a plain copy of memory."""

from __future__ import annotations

import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

_CHUNK_BYTES = 8 << 20
_DEPTHS = (1, 2, 4, 8)
"""Reads at once."""
_TRIES = 2


class DiskCeiling:
    """The fastest that this file can be read past the page cache, bytes per second.

    The buffer is faulted in once, in large pages where the system gives them, which a disk fills
    fastest; nothing is checked or kept of what is read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._bytes = file.stat().st_size // mmap.PAGESIZE * mmap.PAGESIZE
        self._buffer = mmap.mmap(
            -1, _CHUNK_BYTES * max(_DEPTHS), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        self._buffer.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, len(self._buffer), mmap.PAGESIZE):
            self._buffer[page] = 1
        rates = {depth: self._best(depth) for depth in _DEPTHS}
        self.depth = max(rates, key=rates.__getitem__)

    def measure(self) -> float:
        """Bytes per second, once, at the depth that was fastest."""
        return self._rate(self.depth)

    def _best(self, depth: int) -> float:
        return max(self._rate(depth) for _ in range(_TRIES))

    def _rate(self, depth: int) -> float:
        descriptor = os.open(self._file, os.O_RDONLY | os.O_DIRECT)
        try:
            with ThreadPoolExecutor(depth) as pool, memoryview(self._buffer) as view:
                began = time.perf_counter()
                parts = [
                    pool.submit(self._read, descriptor, view, lane, depth) for lane in range(depth)
                ]
                read = sum(part.result() for part in parts)
                elapsed_s = time.perf_counter() - began
        finally:
            os.close(descriptor)
        assert read == self._bytes
        return read / elapsed_s

    def _read(self, descriptor: int, view: memoryview, lane: int, depth: int) -> int:
        room = view[lane * _CHUNK_BYTES : (lane + 1) * _CHUNK_BYTES]
        done = 0
        for position in range(lane * _CHUNK_BYTES, self._bytes, depth * _CHUNK_BYTES):
            wanted = min(_CHUNK_BYTES, self._bytes - position)
            done += os.preadv(descriptor, [room[:wanted]], position)
        return done


def copy_rate(size_bytes: int) -> float:
    """Bytes per second of one copy between two parts of memory that are both there already."""
    source = torch.ones(size_bytes, dtype=torch.uint8)
    target = torch.ones(size_bytes, dtype=torch.uint8)
    began = time.perf_counter()
    target.copy_(source)
    return size_bytes / (time.perf_counter() - began)

"""The weights of a package while they are written: every chunk is hashed on its way to the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from infra.package_index import ChunkHash, checksum_of, digest_of
from infra.storage.tree import FileDigest

_BUFFERS = 4
"""Chunks that are held: one is filled while others are hashed and written."""


class PackageFile:
    """A context. Reading and converting go on in the caller's thread while two others hash and
    write: SHA-256 alone takes longer than all the rest, and none of it holds the interpreter."""

    def __init__(self, path: Path, header: bytes, chunk_bytes: int) -> None:
        self._path = path
        self._chunk_bytes = chunk_bytes
        self._header = header
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._hashes: list[Future[ChunkHash]] = []
        self._written: list[Future[None]] = []
        self._buffers = [bytearray(chunk_bytes) for _ in range(_BUFFERS)]

    def __enter__(self) -> PackageFile:
        self._file: BinaryIO = self._path.open("xb")
        self._hashing = ThreadPoolExecutor(1)
        self._writing = ThreadPoolExecutor(1)
        self._write(self._header)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pool in (self._hashing, self._writing):
            pool.shutdown(wait=True, cancel_futures=True)
        self._file.close()

    def write(self, pieces: Iterable[memoryview]) -> list[ChunkHash]:
        """Write all of the data; returns the hashes of its chunks. Raises OSError."""
        buffer, held = self._buffer(), 0
        for piece in pieces:
            while piece:
                taken = min(len(piece), self._chunk_bytes - held)
                buffer[held : held + taken] = piece[:taken]
                piece, held = piece[taken:], held + taken
                if held == self._chunk_bytes:
                    self._send(buffer)
                    buffer, held = self._buffer(), 0
        if held:
            self._send(buffer[:held])
        for written in self._written:
            written.result()
        return [each.result() for each in self._hashes]

    def digest(self) -> FileDigest:
        """Of all that was written."""
        return FileDigest(self._path.name, self._size_bytes, self._digest.hexdigest())

    def _buffer(self) -> memoryview:
        """One that nobody reads any more: memory that is new costs as much as hashing it."""
        number = len(self._written)
        if number >= len(self._buffers):
            self._written[number - len(self._buffers)].result()
            self._hashes[number - len(self._buffers)].result()
        return memoryview(self._buffers[number % len(self._buffers)])

    def _send(self, chunk: memoryview) -> None:
        self._hashes.append(self._hashing.submit(_hashes_of, chunk))
        self._written.append(self._writing.submit(self._write, chunk))

    def _write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)
        self._size_bytes += len(data)


def _hashes_of(chunk: memoryview) -> ChunkHash:
    return ChunkHash(checksum_of(chunk), digest_of(chunk))

"""What is written down of a landing: where it lies, what belongs there, and what has come."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import weakref
from pathlib import Path

from infra.package_index import PackageIndex, encode_index, parse_index

_HEAD = struct.Struct("<8sQQQ")
"""Magic, where in the arena, bytes of the index, bytes of the arena's path."""
_MAGIC = b"tamer-l1"
_REASON_BYTES = 4096


class LandingFailed(RuntimeError):
    """The bytes will not come; the message says why."""


class Ledger:
    """A memfd beside the weights: head, reason of a failure, index, arena's path, header, and a
    byte for each chunk.

    Who opens it holds a shared lock on it for as long as it lives, so that its owner knows, also
    when the reader is killed.
    """

    def __init__(self, path: str, fd: int, writable: bool) -> None:
        self.path = path
        self._close = weakref.finalize(self, os.close, fd)
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._mapped = mmap.mmap(fd, 0, prot=protection)
        if self._mapped[: len(_MAGIC)] != _MAGIC:
            raise LandingFailed(f"{path} is no landing, or no longer one")
        _, self.offset, index_bytes, path_bytes = _HEAD.unpack_from(self._mapped)
        index_at = _HEAD.size + _REASON_BYTES
        path_at = index_at + index_bytes
        self.index = parse_index(self._mapped[index_at:path_at], path)
        header_at = path_at + path_bytes
        states_at = header_at + self.index.header_bytes
        self.arena_path = self._mapped[path_at:header_at].decode()
        self.header = self._mapped[header_at:states_at]
        self.states = memoryview(self._mapped)[states_at : states_at + len(self.index.chunks)]
        self._failing = threading.Lock()

    @classmethod
    def create(cls, index: PackageIndex, header: bytes, arena_path: str, offset: int) -> Ledger:
        body, place = encode_index(index), arena_path.encode()
        content = _HEAD.pack(_MAGIC, offset, len(body), len(place)) + bytes(_REASON_BYTES)
        content += body + place + header + bytes(len(index.chunks))
        fd = os.memfd_create("tamer-landing")
        os.write(fd, content)
        return cls(f"/proc/{os.getpid()}/fd/{fd}", fd, writable=True)

    @classmethod
    def open(cls, path: str) -> Ledger:
        """Raises OSError where it is gone, LandingFailed where it is closed."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Before anything is read: `close` looks for this lock.
        fcntl.flock(fd, fcntl.LOCK_SH)
        return cls(path, fd, writable=False)

    @property
    def reason(self) -> str:
        """Why the rest will not come; empty while it may."""
        return self._mapped[_HEAD.size : _HEAD.size + _REASON_BYTES].rstrip(b"\0").decode()

    def require_hope(self) -> None:
        """Raises LandingFailed where the rest will not come."""
        if self.reason:
            raise LandingFailed(self.reason)
        if not Path(self.path).exists():
            raise LandingFailed("the process that brought the weights is gone")

    def fail(self, reason: str) -> None:
        told = (reason or "no reason was given").encode()[:_REASON_BYTES]
        told = told.decode(errors="ignore").encode()
        with self._failing:
            if not self.reason:
                self._mapped[_HEAD.size : _HEAD.size + len(told)] = told

    def close(self) -> bool:
        """Nobody can open it any longer; False, and nothing has changed, where somebody has."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who has opened the file, and waits for the lock, finds this.
            self._mapped[: len(_MAGIC)] = bytes(len(_MAGIC))
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        self._close()
        return True

"""Models on this machine's disk: packages chunk by chunk, plain trees whole; up to a size.

What was used longest ago goes first, never what a process of this machine uses. Processes share a
cache: the kernel's locks say who uses what, however a process ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.package_index import PackageIndex
from infra.storage.base import is_name
from infra.telemetry import logger
from worker.loader.cache_entry import LANDED, USED, CacheEntry
from worker.loader.reader import ReadFailed

_EVICTED = ".evicted-"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    folder: Path
    size_bytes: int
    used_at_s: float


class ChunkCache:
    """Packages lie in `packages` below the folder, plain trees (of the tree cache) in it."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.trees = folder
        self.packages = folder / "packages"
        self.limit_bytes = limit_bytes

    def open(
        self, digest: str, index: PackageIndex, header: bytes, files: dict[str, bytes]
    ) -> CacheEntry | None:
        """The entry of a package; None, with one warning, where this disk cannot have it.

        Args:
            digest: of the tree that the package is.
            header: of its weights.
            files: its other files.
        """
        try:
            entry = CacheEntry(
                self.packages, digest, index, _hold(_beside(self.packages / digest, USED))
            )
            try:
                if not self._fits(self.packages / digest, index.file_bytes):
                    entry.close()
                    return None
                entry.open(header, files)
                os.utime(entry.folder)
            except BaseException:
                entry.close()
                raise
        except (OSError, ReadFailed) as error:
            _log.warning("the disk does not cache this model", model=digest, error=str(error))
            return None
        return entry

    def hold(self, folder: Path) -> Callable[[], None]:
        """Keep a plain tree from being evicted, until what is returned is called.

        Raises:
            OSError: the cache cannot be written to.
        """
        used = _hold(_beside(folder, USED))
        if folder.is_dir():
            os.utime(folder)
        return lambda: os.close(used)

    def make_room(self, size_bytes: int, keep: Path | None = None) -> bool:
        """Evict what was used longest ago until so much fits; False where it cannot."""
        for at in (self.trees, self.packages):
            for left in at.glob(_EVICTED + "*"):
                shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
        kept = [each for each in self._kept() if each.folder != keep]
        total_bytes = sum(each.size_bytes for each in kept)
        for each in sorted(kept, key=lambda each: each.used_at_s):
            if total_bytes + size_bytes <= self.limit_bytes:
                break
            if self._evict(each):
                total_bytes -= each.size_bytes
        return total_bytes + size_bytes <= self.limit_bytes

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self._kept())

    def _fits(self, folder: Path, size_bytes: int) -> bool:
        if self.make_room(size_bytes, keep=folder):
            return True
        _log.warning(
            "the disk does not cache this model: raise TAMER_MODEL_CACHE_BYTES",
            model=folder.name,
            model_bytes=size_bytes,
            limit_bytes=self.limit_bytes,
        )
        return False

    def _kept(self) -> list[_Kept]:
        folders = [
            each for at in (self.trees, self.packages) if at.is_dir() for each in at.iterdir()
        ]
        return [
            _Kept(folder, _size_bytes(folder), _used_at_s(folder))
            for folder in folders
            if is_name(folder.name) and folder != self.packages and folder.is_dir()
        ]

    def _evict(self, kept: _Kept) -> bool:
        used = os.open(_beside(kept.folder, USED), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            # Renamed first: nobody finds half of it.
            doomed = _beside(kept.folder, _EVICTED)
            shutil.rmtree(doomed, ignore_errors=True)
            try:
                kept.folder.rename(doomed)
            except FileNotFoundError:
                return True  # another process has evicted it since it was listed
            _beside(kept.folder, LANDED).unlink(missing_ok=True)
            shutil.rmtree(doomed, ignore_errors=True)
            _log.info("evicted from the disk", model=kept.folder.name, bytes=kept.size_bytes)
            return True
        finally:
            os.close(used)


def _beside(folder: Path, prefix: str) -> Path:
    return folder.with_name(prefix + folder.name)


def _hold(used: Path) -> int:
    used.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(used, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _size_bytes(folder: Path) -> int:
    """With the holes of what is partial: they will be filled."""
    try:
        states = [path.stat() for path in folder.iterdir()]
    except FileNotFoundError:
        return 0  # evicted by another process just now
    return sum(max(each.st_size, each.st_blocks * 512) for each in states)


def _used_at_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0

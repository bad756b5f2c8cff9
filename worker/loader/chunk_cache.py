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
from worker.loader.cache_entry import LANDED, PARTIAL, USED, CacheEntry

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: str
    folder: Path
    size_bytes: int
    used_at_s: float


class ChunkCache:
    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
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
            entry = CacheEntry(self.folder, digest, index, self._hold(digest))
            try:
                if not self._fits(digest, index.file_bytes):
                    entry.close()
                    return None
                entry.open(header, files)
                self._touch(entry.folder)
            except BaseException:
                entry.close()
                raise
        except OSError as error:
            _log.warning("the disk does not cache this model", model=digest, error=str(error))
            return None
        return entry

    def hold(self, digest: str) -> Callable[[], None]:
        """Keep a tree from being evicted, until what is returned is called. Raises OSError."""
        used = self._hold(digest)
        if (folder := self.folder / digest).is_dir():
            self._touch(folder)
        return lambda: os.close(used)

    def make_room(self, size_bytes: int, keep: str = "") -> bool:
        """Evict what was used longest ago until so much fits; False where it cannot."""
        kept = self._kept()
        total_bytes = sum(each.size_bytes for each in kept if each.digest != keep)
        for each in sorted(kept, key=lambda each: each.used_at_s):
            if total_bytes + size_bytes <= self.limit_bytes:
                break
            if each.digest != keep and self._evict(each):
                total_bytes -= each.size_bytes
        return total_bytes + size_bytes <= self.limit_bytes

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self._kept())

    def _fits(self, digest: str, size_bytes: int) -> bool:
        if self.make_room(size_bytes, keep=digest):
            return True
        _log.warning(
            "the disk does not cache this model: raise TAMER_MODEL_CACHE_BYTES",
            model=digest,
            model_bytes=size_bytes,
            limit_bytes=self.limit_bytes,
        )
        return False

    def _kept(self) -> list[_Kept]:
        if not self.folder.is_dir():
            return []
        found = []
        for folder in self.folder.iterdir():
            digest = folder.name.removeprefix(PARTIAL)
            if is_name(digest) and folder.is_dir():
                found.append(_Kept(digest, folder, _size_bytes(folder), _used_at_s(folder)))
        return found

    def _hold(self, digest: str) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        used = self.folder / f"{USED}{digest}"
        file = os.open(used, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)
        return file

    def _touch(self, folder: Path) -> None:
        os.utime(folder)

    def _evict(self, kept: _Kept) -> bool:
        used = self.folder / f"{USED}{kept.digest}"
        file = os.open(used, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            # Renamed first: nobody finds half of it.
            doomed = self.folder / f".evicted-{kept.digest}"
            shutil.rmtree(doomed, ignore_errors=True)
            kept.folder.rename(doomed)
            (self.folder / f"{LANDED}{kept.digest}").unlink(missing_ok=True)
            shutil.rmtree(doomed, ignore_errors=True)
            _log.info("evicted from the disk", model=kept.digest, bytes=kept.size_bytes)
            return True
        finally:
            os.close(file)


def _size_bytes(folder: Path) -> int:
    """On the disk: what is partial has holes."""
    try:
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    except FileNotFoundError:
        return 0  # evicted by another process just now


def _used_at_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0

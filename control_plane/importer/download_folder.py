"""What has been fetched of one version of one source: where a second try goes on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.importer.errors import DiskFull, DownloadBroke
from control_plane.importer.remote import Remote, RemoteFile

_PART = ".part"
_LOOK_EVERY_S = 0.2
_RESERVE_BYTES = 64 << 20


class DownloadFolder:
    """Made by `held`. Files appear under their names when they are whole and checked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, file: RemoteFile) -> bool:
        path = self.path / file.name
        return path.is_file() and path.stat().st_size == file.size_bytes

    def part(self, file: RemoteFile) -> Path:
        """Where the file lies while it is fetched."""
        return self.path / (file.name + _PART)

    def held_bytes(self, file: RemoteFile) -> int:
        """How much of the file is here."""
        part = self.part(file)
        return file.size_bytes if self.has(file) else part.stat().st_size if part.exists() else 0

    def keep(self, file: RemoteFile) -> None:
        """Check a fetched part and give it its name.

        Raises:
            DownloadBroke: it is not what was announced; it is gone.
        """
        part = self.part(file)
        found = part.stat().st_size
        if found != file.size_bytes or not _is_what_it_should_be(part, file):
            part.unlink()
            raise DownloadBroke(
                f"{file.name} arrived damaged ({found} of {file.size_bytes} bytes): try again"
            )
        part.rename(self.path / file.name)

    def reserve(self, need_bytes: int) -> None:
        """Raises DiskFull where that cannot fit."""
        free_bytes = shutil.disk_usage(self.path).free
        if need_bytes + _RESERVE_BYTES > free_bytes:
            raise DiskFull(
                f"the model needs {need_bytes >> 20} MiB more, the disk of {self.path} has "
                f"{free_bytes >> 20} MiB left: free some and retry"
            )

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def held(
    downloads_dir: Path, remote: Remote, waiting: Callable[[], None]
) -> Iterator[DownloadFolder]:
    """The folder of a remote's version, ours alone while the block lasts.

    `waiting` is called now and then while another import has it; what it raises ends the wait.
    """
    name = hashlib.sha256(f"{remote.source}\0{remote.version}".encode()).hexdigest()[:32]
    path = downloads_dir / name
    descriptor = _lock(path, waiting)
    try:
        yield DownloadFolder(path)
    finally:
        os.close(descriptor)


def sweep(downloads_dir: Path) -> None:
    """Remove what no import holds."""
    for path in downloads_dir.glob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _lock(path: Path, waiting: Callable[[], None]) -> int:
    """The kernel drops the lock with the process, however that ends."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            waiting()
            time.sleep(_LOOK_EVERY_S)
            continue
        # Another import may have removed it between the two calls.
        if path.is_dir() and path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)


def _is_what_it_should_be(path: Path, file: RemoteFile) -> bool:
    with path.open("rb") as opened:
        if file.sha256:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        if file.git_sha1:
            digest = hashlib.sha1(f"blob {file.size_bytes}\0".encode())
            digest.update(opened.read())
            return digest.hexdigest() == file.git_sha1
    return True

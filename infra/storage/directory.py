"""The object store of one machine: a directory, named by `file://` URIs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from infra.storage.base import BadKey, DirectoryTaken, Moved, NotStored, is_name, names_of
from infra.storage.tree import verify_tree

_STAGING = ".staging-"


def uri_of(path: Path) -> str:
    """The `file://` URI of an absolute path."""
    return "file://" + quote(str(path))


def path_of(uri: str) -> Path:
    """The path a `file://` URI names, whether or not something lies there.

    Raises:
        BadKey: not a `file://` URI of this machine, not absolute, or with `..` in it.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise BadKey(f"{uri!r} is not a URI: {error}") from error
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise BadKey(f"{uri!r} is not a file:// URI of this machine, such as file:///models/abc")
    if parts.query or parts.fragment:
        raise BadKey(f"{uri!r} has a query or a fragment; write `?` as %3F and `#` as %23")
    path = unquote(parts.path)
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise BadKey(f"{uri!r} must name an absolute path without `..`")
    return Path(path)


def local_path(uri: str) -> Path:
    """The directory that a `file://` URI names.

    Raises:
        BadKey: not such a URI.
        NotStored: no directory lies there.
    """
    path = path_of(uri)
    if not path.is_dir():
        raise NotStored(f"no directory at {uri}; import the model again")
    return path


class DirectoryStorage:
    """`Storage` in one directory; see the protocol for what the methods promise."""

    def __init__(self, root: Path) -> None:
        if not root.is_absolute():
            raise BadKey(f"the storage directory {str(root)!r} must be an absolute path")
        self.root = root

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh directory on the file system of the store, to be filled and then `put`.

        It is gone afterwards, and what a killed process left of its own goes with it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with _locked(self.root):
            self._sweep()
            path = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.root))
            # The lock says that the owner lives: the kernel drops it with the process.
            owner = os.open(path, os.O_RDONLY)
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(owner)

    def put(self, key: str, directory: Path, moved: Moved | None = None) -> str:  # noqa: ARG002
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise DirectoryTaken(f"{key!r} is already stored; delete it first")
        if directory.stat().st_dev == target.parent.stat().st_dev:
            _publish(directory, target, key)
            return self.uri(key)
        with self.staging() as staged:
            shutil.copytree(directory, staged, dirs_exist_ok=True)
            _publish(staged, target, key)
        shutil.rmtree(directory)
        return self.uri(key)

    def exists(self, key: str) -> bool:
        return self._path(key).is_dir()

    def uri(self, key: str) -> str:
        return uri_of(self._path(key))

    def verify(self, key: str) -> None:
        """Reads every byte."""
        path = self._path(key)
        if not path.is_dir():
            raise NotStored(f"no directory at {path}; import the model again")
        verify_tree(path)

    def keys(self) -> list[str]:
        if not self.root.is_dir():
            return []
        names = (entry.name for entry in self.root.iterdir() if entry.is_dir())
        return sorted(name for name in names if is_name(name))

    def size_bytes(self, key: str) -> int:
        files = (path for path in self._path(key).rglob("*") if path.is_file())
        return sum(file.stat().st_size for file in files)

    def delete(self, key: str) -> None:
        target = self._path(key)
        if not target.is_dir():
            return
        # Renamed first: a reader sees the whole tree or none of it.
        with self.staging() as doomed:
            target.rename(doomed / "tree")

    def _sweep(self) -> None:
        for left in self.root.glob(f"{_STAGING}*"):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)

    def _path(self, key: str) -> Path:
        return self.root.joinpath(*names_of(key))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _publish(directory: Path, target: Path, key: str) -> None:
    directory.chmod(0o755)
    _sync(directory)
    try:
        directory.rename(target)
    except OSError as error:
        if target.exists():
            raise DirectoryTaken(f"{key!r} is already stored; delete it first") from error
        raise
    _sync_one(target.parent)


def _sync(directory: Path) -> None:
    """Files first, then the directories that name them: a rename must not outlive its content."""
    for entry in directory.rglob("*"):
        _sync_one(entry)
    _sync_one(directory)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

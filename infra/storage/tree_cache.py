"""Trees of a store elsewhere on this machine's disk, each under its digest, for processes that need
files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from infra.storage.base import Damaged, Moved, ignore
from infra.storage.directory import DirectoryStorage
from infra.storage.tree import MANIFEST_FILE, TreeManifest, verify_tree


class RemoteTrees(Protocol):
    """Whole trees by key, each with its manifest."""

    def uri(self, key: str) -> str: ...

    def manifest(self, key: str) -> TreeManifest:
        """Raises NotStored, Damaged."""

    def download(self, key: str, names: list[str], folder: Path, moved: Moved = ignore) -> None:
        """Write files of a tree into a folder."""


def cached(storage: RemoteTrees, key: str, cache_dir: Path, moved: Moved = ignore) -> Path:
    """The tree as a local directory: what is there already, or fetched and verified now.

    Processes that want the same tree at once wait for the first of them.

    Raises:
        NotStored: no whole tree lies there.
        Damaged: what came is not what the manifest says.
    """
    cache = DirectoryStorage(cache_dir)
    digest = storage.manifest(key).digest
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir / f".{digest}.lock"):
        if not cache.exists(digest):
            _fetch(storage, key, cache, digest, moved)
    return cache.root / digest


def _fetch(
    storage: RemoteTrees, key: str, cache: DirectoryStorage, digest: str, moved: Moved
) -> None:
    with cache.staging() as staged:
        tree = staged / "tree"
        tree.mkdir()
        manifest = storage.manifest(key)
        storage.download(key, [*(f.name for f in manifest.files), MANIFEST_FILE], tree, moved)
        if verify_tree(tree).digest != digest:
            raise Damaged(f"{storage.uri(key)} changed while it was read: try again")
        cache.put(digest, tree)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

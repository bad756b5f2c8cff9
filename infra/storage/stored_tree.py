"""One stored tree, read file by file and part by part, wherever it lies."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Protocol

from infra.settings import Settings
from infra.storage import directory
from infra.storage.base import Damaged, NotStored
from infra.storage.opening import check_s3
from infra.storage.ranges import DirectoryFile, RangedFile
from infra.storage.served import ServedTrees, served_digest
from infra.storage.tree import TreeManifest, read_tree

_DIGEST = re.compile(r"[0-9a-f]{64}")
"""A key that names content; others are names that somebody gave."""


class StoredTree(Protocol):
    """Methods raise NotStored, Damaged, StorageDenied and StorageAway."""

    uri: str

    @property
    def folder(self) -> Path | None:
        """Where it lies on this machine; None where it lies elsewhere."""

    def manifest(self) -> TreeManifest: ...

    def read(self, name: str) -> bytes:
        """One small file, as it comes."""

    def open(self, name: str, size_bytes: int) -> RangedFile:
        """A file of that size, to be read in parts."""


class LocalTree:
    """Raises NotStored, BadKey."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.folder = directory.local_path(uri)

    def manifest(self) -> TreeManifest:
        return read_tree(self.folder)

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise NotStored(f"{self.uri} has no {name}: import the model again") from error

    def open(self, name: str, size_bytes: int) -> RangedFile:
        return DirectoryFile(self.folder / name, size_bytes)


class S3Tree:
    folder = None

    def __init__(self, uri: str, settings: Settings) -> None:
        """Raises BadKey."""
        check_s3()
        from infra.storage.s3 import S3Storage

        self.uri = uri
        self._endpoint = settings.s3_endpoint
        self._storage, self._key = S3Storage.around(uri, settings.scratch_dir, self._endpoint)

    def manifest(self) -> TreeManifest:
        return self._storage.manifest(self._key)

    def read(self, name: str) -> bytes:
        return self._storage.read(self._key, name)

    def open(self, name: str, size_bytes: int) -> RangedFile:
        from infra.storage.s3_location import parse_s3
        from infra.storage.s3_ranges import open_object

        return open_object(parse_s3(f"{self.uri}/{name}"), size_bytes, self._endpoint)


class ServedTree:
    folder = None

    def __init__(self, trees: ServedTrees, digest: str) -> None:
        self.uri = trees.uri(digest)
        self._trees = trees
        self._digest = digest

    def manifest(self) -> TreeManifest:
        return self._trees.manifest(self._digest)

    def read(self, name: str) -> bytes:
        return self._trees.read(self._digest, name)

    def open(self, name: str, size_bytes: int) -> RangedFile:
        return self._trees.open(self._digest, name, size_bytes)


def open_tree(uri: str, settings: Settings, served: ServedTrees | None = None) -> StoredTree:
    """The tree that a URI names; nothing but a directory is looked at yet.

    Args:
        served: reads tamer:// URIs, which only machines that joined can.

    Raises:
        BadKey: not a URI of any store.
        NotStored: a directory that is not there.
        StorageError: it lies in S3, and boto3 is not installed.
    """
    digest = served_digest(uri)
    if served is not None and digest is not None:
        return ServedTree(served, digest)
    if uri.startswith("s3://"):
        return S3Tree(uri, settings)
    return LocalTree(uri)


def own_manifest(tree: StoredTree) -> TreeManifest:
    """The manifest of the tree that the URI names: a store that holds another whole tree under its
    key, by mistake or by malice, is not believed.

    Raises:
        StorageError: there is none, or it is another tree's.
    """
    manifest = tree.manifest()
    key = tree.uri.rpartition("/")[2]
    if _DIGEST.fullmatch(key) and key != manifest.digest:
        raise Damaged(f"{tree.uri} holds another tree ({manifest.digest}): import the model again")
    return manifest


def read_checked(tree: StoredTree, manifest: TreeManifest, name: str) -> bytes:
    """A small file that is what the manifest says.

    Raises:
        NotStored: the manifest does not name it.
        Damaged: it is another one.
    """
    for file in manifest.files:
        if file.name == name:
            body = tree.read(name)
            if hashlib.sha256(body).hexdigest() != file.sha256:
                raise Damaged(f"{tree.uri}/{name} has changed: import the model again")
            return body
    raise NotStored(f"{tree.uri} has no {name}: import the model again")

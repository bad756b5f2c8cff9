"""What is known of a stored package before its weights are read."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.package_index import (
    INDEX_FILE,
    CorruptIndex,
    DamagedChunk,
    PackageIndex,
    parse_index,
)
from infra.safetensors import WEIGHTS_FILE
from infra.storage.base import Damaged
from infra.storage.ranges import RangedFile
from infra.storage.stored_tree import StoredTree, read_checked
from infra.storage.tree import MANIFEST_FILE, TreeManifest


def is_package(manifest: TreeManifest) -> bool:
    return any(file.name == INDEX_FILE for file in manifest.files)


@dataclass(frozen=True, slots=True)
class StoredPackage:
    tree: StoredTree
    digest: str
    """Of the tree."""
    index: PackageIndex
    header: bytes
    files: dict[str, bytes]
    """Those beside the weights."""

    @classmethod
    def read(cls, tree: StoredTree, manifest: TreeManifest) -> Self:
        """
        Raises:
            StorageError: something of it is damaged, or cannot be read.
        """
        files = {
            file.name: read_checked(tree, manifest, file.name)
            for file in manifest.files
            if file.name != WEIGHTS_FILE
        }
        files[MANIFEST_FILE] = tree.read(MANIFEST_FILE)
        try:
            index = parse_index(files[INDEX_FILE], f"{tree.uri}/{INDEX_FILE}")
            header = _read_header(tree, index)
            index.check_header(header)
        except (CorruptIndex, DamagedChunk) as error:
            raise Damaged(f"{tree.uri}: {error}: import the model again") from error
        return cls(tree, manifest.digest, index, header, files)

    @property
    def where(self) -> str:
        """The weights, as errors name them."""
        return f"{self.tree.uri}/{WEIGHTS_FILE}"

    def weights(self) -> RangedFile:
        """Raises StorageError."""
        return self.tree.open(WEIGHTS_FILE, self.index.file_bytes)

    def write_small_files(self) -> tempfile.TemporaryDirectory[str]:
        """A folder of its own for an engine, where the cache has none. Raises OSError."""
        folder = tempfile.TemporaryDirectory(prefix="tamer-model-")
        for name, body in self.files.items():
            (Path(folder.name) / name).write_bytes(body)
        return folder


def _read_header(tree: StoredTree, index: PackageIndex) -> bytes:
    header = bytearray(index.header_bytes)
    weights = tree.open(WEIGHTS_FILE, index.file_bytes)
    try:
        weights.read(0, memoryview(header))
    finally:
        weights.close()
    return bytes(header)

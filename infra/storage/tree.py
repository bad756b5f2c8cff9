"""The manifest of a stored tree: what its files must be, and the digest that names them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from infra.storage.base import Damaged, NotStored

MANIFEST_FILE = "manifest.json"


class FileDigest(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    sha256: str


class TreeManifest(msgspec.Struct, frozen=True):
    """What a tree holds besides the manifest itself. Other fields of the file are left alone."""

    digest: str
    """SHA-256 over name, size and SHA-256 of every file: the same content has the same digest
    wherever and whenever it was made."""
    files: list[FileDigest]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def root_digest(files: Iterable[FileDigest]) -> str:
    lines = sorted(f"{file.name}\0{file.size_bytes}\0{file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def parse_manifest(body: bytes, where: str) -> TreeManifest:
    """Raises Damaged: this is no manifest, or it contradicts itself."""
    try:
        manifest = msgspec.json.decode(body, type=TreeManifest)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{where} is damaged ({error}): import the model again") from error
    if root_digest(manifest.files) != manifest.digest:
        raise Damaged(f"{where} contradicts itself: import the model again")
    for file in manifest.files:
        if Path(file.name).name != file.name or file.name.startswith("."):
            raise Damaged(f"{where} names {file.name!r}, which is no plain file name")
    return manifest


def read_manifest_body(directory: Path) -> bytes:
    """Raises NotStored: the directory has no manifest."""
    try:
        return (directory / MANIFEST_FILE).read_bytes()
    except FileNotFoundError as error:
        raise NotStored(f"{directory} has no {MANIFEST_FILE}: import it again") from error


def read_tree(directory: Path) -> TreeManifest:
    """Raises Damaged, NotStored."""
    return parse_manifest(read_manifest_body(directory), str(directory / MANIFEST_FILE))


def verify_tree(directory: Path) -> TreeManifest:
    """Read every byte of a tree and hold it against its manifest.

    Raises:
        NotStored: there is no manifest.
        Damaged: a file is missing, superfluous or changed.
    """
    manifest = read_tree(directory)
    names = {path.name for path in directory.iterdir()} - {MANIFEST_FILE}
    if names != {file.name for file in manifest.files}:
        raise Damaged(f"{directory} does not hold the files of its manifest: import it again")
    for file in manifest.files:
        with (directory / file.name).open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                raise Damaged(f"{directory / file.name} has changed: import the model again")
    return manifest

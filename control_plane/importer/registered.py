"""A model of the registry as a checkpoint: a package, or the plain files of earlier versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from control_plane.importer import architectures
from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.errors import Corrupt
from control_plane.importer.folder import Folder
from control_plane.importer.huggingface import architecture_name, read_tensors
from control_plane.importer.stored_tensors import StoredTensor, StoredTensors
from control_plane.importer.text_assets import read_text_assets
from infra.package_index import INDEX_FILE, CorruptIndex, PackageIndex, parse_index
from infra.package_tensors import SCALES, is_padding
from infra.safetensors import WEIGHTS_FILE, CorruptHeader, Header, read_header
from infra.storage.base import Damaged, NotStored
from infra.storage.tree import verify_tree


def read_registered(path: Path) -> Checkpoint:
    """Read every byte of a model's directory once, to be sure that it is what was imported, and all
    but its weights for use.

    Raises:
        Corrupt: it is not what was imported.
    """
    try:
        verify_tree(path)
    except (Damaged, NotStored) as error:
        raise Corrupt(str(error)) from error
    folder = Folder(path)
    config = folder.document("config.json")
    config.pop("quantization_config", None)
    architecture = architectures.by_hf_name(architecture_name(config))
    if folder.has(INDEX_FILE):
        tensors = _package_tensors(path, architecture.tensors(config))
    else:
        tensors = read_tensors(folder, architecture, config)
    return Checkpoint(
        architecture=architecture,
        config=config,
        generation=folder.optional_document("generation_config.json"),
        text=read_text_assets(path),
        tensors=StoredTensors(tensors),
        parameters=sum(math.prod(shape) for shape in architecture.tensors(config).values()),
    )


def _package_tensors(
    path: Path, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, StoredTensor]:
    try:
        index = parse_index((path / INDEX_FILE).read_bytes(), str(path / INDEX_FILE))
        header = read_header(path / WEIGHTS_FILE)
        index.check_against(header)
    except (CorruptIndex, CorruptHeader) as error:
        raise Corrupt(str(error)) from error
    tensors = {
        name: _stored(path / WEIGHTS_FILE, index, header, name)
        for name in header.entries
        if not is_padding(name)
    }
    shapes = {name: each.shape for name, each in tensors.items() if not name.endswith(SCALES)}
    if shapes != dict(expected):
        raise Corrupt(f"{path} does not hold the tensors of its config.json: import it again")
    return tensors


def _stored(path: Path, index: PackageIndex, header: Header, name: str) -> StoredTensor:
    entry = header.entries[name]
    slices = index.slices.get(name.removesuffix(SCALES), 1)
    shape = entry.shape
    if slices > 1:
        _, outputs, inputs = shape
        shape = (outputs, inputs * slices)
    begin = header.data_start + entry.data_offsets[0]
    return StoredTensor(path, begin, entry.dtype, shape, slices)

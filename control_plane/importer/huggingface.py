"""A Hugging Face directory as a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from control_plane.importer import architectures
from control_plane.importer.architectures.base import Architecture
from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.errors import Corrupt, SourceMissing, Unsupported
from control_plane.importer.folder import Folder
from control_plane.importer.huggingface_text import read_text
from control_plane.importer.stored_tensors import StoredTensor, StoredTensors
from infra.package_tensors import is_padding
from infra.safetensors import INDEX_FILE, WEIGHTS_FILE, CorruptHeader, read_header

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
_DTYPES = frozenset({"F32", "F16", "BF16"})


def read_directory(path: Path) -> Checkpoint:
    """Read and check everything but the weights themselves.

    Raises:
        ImportRefused: the directory cannot be served; the message says why.
    """
    folder = Folder(path)
    architecture, config = read_config(folder)
    tensors = read_tensors(folder, architecture, config)
    generation = folder.optional_document("generation_config.json")
    text = read_text(folder, config, generation)
    ends = {"eos_token_id": list(text.eos_token_ids)}
    return Checkpoint(
        architecture=architecture,
        config={**config, **ends},
        generation={**generation, **ends},
        text=text,
        tensors=StoredTensors(tensors),
        parameters=sum(math.prod(each.shape) for each in tensors.values()),
    )


def read_config(folder: Folder) -> tuple[Architecture, dict[str, Any]]:
    """The architecture and its (checked) config. Raises ImportRefused."""
    if not folder.has("config.json"):
        raise SourceMissing(f"{folder.path} has no config.json: name a Hugging Face model")
    raw = folder.document("config.json")
    architecture = architectures.by_hf_name(architecture_name(raw))
    return architecture, architecture.config(raw)


def read_tensors(
    folder: Folder, architecture: Architecture, config: Mapping[str, Any]
) -> dict[str, StoredTensor]:
    """The tensors that the config asks for, all of them, with nothing read but headers.

    Raises:
        ImportRefused: the files hold something else.
    """
    files, index = _weight_files(folder)
    tensors = _tensors(files, index)
    expected = architecture.tensors(config)
    _check(tensors, expected, architecture, config)
    return {name: tensors[name] for name in expected}


def architecture_name(config: Mapping[str, Any]) -> str:
    """What a config.json names in `architectures`. Raises Corrupt."""
    match config.get("architectures"):
        case [str(name)]:
            return name
    raise Corrupt('config.json must name one architecture, such as ["LlamaForCausalLM"]')


def _weight_files(folder: Folder) -> tuple[dict[str, Path], dict[str, Any] | None]:
    """The safetensors files by the name they get, and the index where there is one."""
    if folder.has(INDEX_FILE):
        weight_map = folder.document(INDEX_FILE).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise Corrupt(f"{INDEX_FILE} has no weight_map: fetch it again")
        names = sorted({_shard(name) for name in weight_map.values()})
        return {name: folder.file(name) for name in names}, {
            "metadata": {},
            "weight_map": weight_map,
        }
    found = [name for name in folder.names() if name.endswith(".safetensors")]
    if WEIGHTS_FILE in found or len(found) == 1:
        name = WEIGHTS_FILE if WEIGHTS_FILE in found else found[0]
        return {WEIGHTS_FILE: folder.file(name)}, None
    if found:
        raise Corrupt(f"{folder.path} has {len(found)} safetensors files and no {INDEX_FILE}")
    if any(name.endswith(PICKLES) for name in folder.names()):
        raise Unsupported(
            f"{folder.path} has pickled weights only, which could run code and are never opened: "
            "convert them with save_pretrained(safe_serialization=True)"
        )
    raise SourceMissing(f"{folder.path} has no *.safetensors file")


def _shard(name: object) -> str:
    if not isinstance(name, str) or not name.endswith(".safetensors"):
        raise Unsupported(f"{INDEX_FILE} names {name!r}, which is not a safetensors file")
    return name


def _tensors(files: Mapping[str, Path], index: Mapping[str, Any] | None) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for name, path in files.items():
        for tensor, stored in _stored(path).items():
            if tensor in tensors:
                raise Corrupt(f"tensor {tensor!r} lies in {name} and in another file")
            if index is not None and index["weight_map"].get(tensor) != name:
                raise Corrupt(f"tensor {tensor!r} lies in {name}, {INDEX_FILE} says otherwise")
            tensors[tensor] = stored
    if index is not None and (lost := index["weight_map"].keys() - tensors.keys()):
        raise Corrupt(f"{INDEX_FILE} lists tensor {min(lost)!r}, which no file has")
    return tensors


def _stored(path: Path) -> dict[str, StoredTensor]:
    try:
        header = read_header(path)
    except CorruptHeader as error:
        raise Corrupt(str(error)) from error
    return {
        name: StoredTensor(
            path, header.data_start + entry.data_offsets[0], entry.dtype, entry.shape
        )
        for name, entry in header.entries.items()
        if not is_padding(name)
    }


def _check(
    tensors: Mapping[str, StoredTensor],
    expected: Mapping[str, tuple[int, ...]],
    architecture: Architecture,
    config: Mapping[str, Any],
) -> None:
    if missing := expected.keys() - tensors.keys():
        raise Corrupt(f"{len(missing)} tensors are missing, such as {min(missing)!r}")
    for name, entry in tensors.items():
        if name not in expected:
            if architecture.is_ignored(name, config):
                continue
            raise Unsupported(f"tensor {name!r} is not part of {architecture.hf_name}")
        if entry.shape != expected[name]:
            raise Corrupt(
                f"tensor {name!r} has shape {entry.shape}, config.json asks for {expected[name]}"
            )
        if entry.dtype not in _DTYPES:
            raise Unsupported(
                f"tensor {name!r} is {entry.dtype}; supported: {', '.join(sorted(_DTYPES))}"
            )

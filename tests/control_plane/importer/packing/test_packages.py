"""Packages as they come out: of every source, with every option, made of each other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors import safe_open

from control_plane.importer.errors import Corrupt, ImportRefused, Unsupported
from control_plane.importer.model import ImportedModel, import_model, pack_model
from control_plane.importer.packing import package
from control_plane.importer.packing.request import Packing
from infra.package_index import BLOCK_BYTES, PackageIndex, parse_index
from infra.package_tensors import is_padding
from infra.safetensors import read_header
from infra.storage.directory import DirectoryStorage, local_path
from infra.storage.tree import FileDigest, root_digest
from tests.control_plane.importer.tiny_model import (
    packed_weights,
    weights,
    write_directory,
    write_gguf,
)
from tests.fixtures.requirements import imported

_OPTIONS = [
    Packing(),
    Packing(dtype="bfloat16"),
    Packing(dtype="float16", slices=2),
    Packing(quantization="int8"),
    Packing(quantization="int8", dtype="bfloat16"),
]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a tiny model has several."""
    monkeypatch.setattr(package, "CHUNK_BYTES", 64 << 10)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_directory(tmp_path / "source")


def _pack(model: ImportedModel, models_dir: Path, packing: Packing) -> ImportedModel:
    storage = DirectoryStorage(models_dir)
    return pack_model(local_path(model.uri), model.source, storage, packing)


def _index(model: ImportedModel) -> PackageIndex:
    return parse_index((local_path(model.uri) / "package.json").read_bytes(), "package.json")


@pytest.mark.parametrize("packing", _OPTIONS, ids=str)
def test_the_index_is_right_about_every_byte(
    source: Path, models_dir: Path, packing: Packing
) -> None:
    model = import_model(source, models_dir, packing=packing)
    index, file = _index(model), local_path(model.uri) / "model.safetensors"
    assert (model.weights_root, model.quantization) == (index.root, index.quantization)
    index.check_against(read_header(file))
    body = memoryview(file.read_bytes())
    assert len(body) == index.file_bytes
    assert index.header_bytes % BLOCK_BYTES == 0
    index.check_header(bytes(body[: index.header_bytes]))
    assert len(index.chunks) > 1
    for chunk in range(len(index.chunks)):
        begin, end = index.chunk_range(chunk)
        data = body[index.header_bytes + begin : index.header_bytes + end]
        for strong in (False, True):
            index.check_chunk(chunk, data, strong)


def test_every_kind_of_source_gives_the_same_weights(
    source: Path, models_dir: Path, tmp_path: Path
) -> None:
    of_directory = import_model(source, models_dir)
    of_gguf = import_model(write_gguf(tmp_path / "tiny.gguf"), models_dir)
    assert of_gguf.weights_root == of_directory.weights_root
    assert of_gguf.digest != of_directory.digest


@pytest.mark.parametrize("packing", _OPTIONS, ids=str)
def test_packing_later_gives_what_importing_so_would_have_given(
    source: Path, models_dir: Path, packing: Packing
) -> None:
    plain = import_model(source, models_dir)
    packed = _pack(plain, models_dir, packing)
    assert packed == import_model(source, models_dir, packing=packing)
    assert _pack(plain, models_dir, packing) == packed


def test_a_model_of_plain_files_becomes_a_package(source: Path, models_dir: Path) -> None:
    model = import_model(source, models_dir)
    plain = _without_package(local_path(model.uri), source)
    storage = DirectoryStorage(models_dir)
    assert pack_model(plain, model.source, storage, Packing()).digest == model.digest


def test_slices_are_cut_and_put_together_again(source: Path, models_dir: Path) -> None:
    plain = import_model(source, models_dir)
    cut = _pack(plain, models_dir, Packing(slices=4))
    name = "model.layers.1.mlp.down_proj.weight"
    whole = weights()[name]
    stored = packed_weights(local_path(cut.uri))[name]
    assert np.array_equal(stored, np.stack(np.split(whole, 4, axis=1)))
    assert _pack(cut, models_dir, Packing()).digest == plain.digest


def test_int8_is_packed_again_without_being_quantised_again(source: Path, models_dir: Path) -> None:
    quantised = import_model(source, models_dir, packing=Packing(quantization="int8"))
    assert _pack(quantised, models_dir, Packing()).digest == quantised.digest
    with pytest.raises(Unsupported, match="int8 already"):
        _pack(quantised, models_dir, Packing(quantization="none"))


def test_int8_is_within_half_a_step_of_the_weights(source: Path, models_dir: Path) -> None:
    model = import_model(source, models_dir, packing=Packing(quantization="int8"))
    stored = packed_weights(local_path(model.uri))
    for name, weight in weights().items():
        if stored[name].dtype != np.int8:
            assert np.array_equal(stored[name], weight)
            continue
        steps = np.repeat(stored[f"{name}.scales"], 64, axis=1)[:, : weight.shape[1]]
        error = np.abs(stored[name].astype(np.float32) * steps - weight)
        assert (error <= steps * 0.5001).all(), name


def test_a_model_that_has_changed_on_disk_is_not_packed(source: Path, models_dir: Path) -> None:
    model = import_model(source, models_dir)
    file = local_path(model.uri) / "model.safetensors"
    body = bytearray(file.read_bytes())
    body[-5000] ^= 1
    file.write_bytes(body)
    with pytest.raises(Corrupt, match="import the model again"):
        _pack(model, models_dir, Packing(slices=2))
    assert DirectoryStorage(models_dir).keys() == [model.digest]


def test_nothing_is_left_of_a_pack_that_was_stopped(source: Path, models_dir: Path) -> None:
    model = import_model(source, models_dir)

    def stop(phase: str, done_bytes: int, total_bytes: int) -> None:
        if done_bytes:
            raise ImportRefused("enough")

    with pytest.raises(ImportRefused, match="enough"):
        pack_model(
            local_path(model.uri),
            model.source,
            DirectoryStorage(models_dir),
            Packing(slices=2),
            stop,
        )
    assert [each.name for each in models_dir.iterdir()] == [model.digest]


def test_stock_tools_open_a_package(source: Path, models_dir: Path) -> None:
    torch, transformers = imported("torch"), imported("transformers")
    path = local_path(import_model(source, models_dir).uri)
    with safe_open(path / "model.safetensors", "pt") as opened:
        assert {name for name in opened.keys() if not is_padding(name)} == set(weights())  # noqa: SIM118
    loaded, told = transformers.AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(told.values()), told
    state = loaded.state_dict()
    for name, weight in weights().items():
        assert torch.equal(state[name], torch.from_numpy(weight)), name


@pytest.mark.parametrize("packing", [Packing(quantization="int8"), Packing(slices=2)], ids=str)
def test_stock_tools_do_not_take_for_weights_what_is_none(
    source: Path, models_dir: Path, packing: Packing
) -> None:
    transformers = imported("transformers")
    path = local_path(import_model(source, models_dir, packing=packing).uri)
    with pytest.raises((ValueError, RuntimeError)):
        transformers.AutoModelForCausalLM.from_pretrained(path)


def _without_package(tree: Path, source: Path) -> Path:
    """The tree as earlier versions wrote it."""
    manifest = json.loads((tree / "manifest.json").read_text())
    (tree / "package.json").unlink()
    body = (source / "model.safetensors").read_bytes()
    (tree / "model.safetensors").write_bytes(body)
    files = [
        FileDigest(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in tree.iterdir()
        if path.name != "manifest.json"
    ]
    manifest |= {"digest": root_digest(files), "files": msgspec.to_builtins(files)}
    (tree / "manifest.json").write_text(json.dumps(manifest))
    return tree.rename(tree.with_name("plain"))

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from control_plane.importer.model import import_model
from control_plane.importer.text_assets import read_text_assets
from infra.package_index import parse_index
from infra.projection import text_digest
from infra.storage.base import Damaged
from infra.storage.directory import local_path
from infra.storage.tree import verify_tree
from tests.control_plane.importer.tiny_model import CONFIG, TEMPLATE, packed_weights, weights

Change = Callable[..., None]


def test_a_directory_becomes_a_model_named_by_its_content(
    directory: Path, models_dir: Path
) -> None:
    model = import_model(directory, models_dir)
    path = local_path(model.uri)
    assert path == models_dir / model.digest
    assert model.architecture == "LlamaForCausalLM"
    assert model.max_context_tokens == 128
    assert model.vocabulary_size == 260
    assert model.parameters == sum(math.prod(tensor.shape) for tensor in weights().values())
    assert verify_tree(path).digest == model.digest
    assert model.size_bytes == sum(
        file.stat().st_size for file in path.iterdir() if file.name != "manifest.json"
    )
    loaded, expected = packed_weights(path), weights()
    assert loaded.keys() == expected.keys()
    assert all(np.array_equal(loaded[name], expected[name]) for name in expected)


def test_the_text_side_is_read_back(directory: Path, models_dir: Path) -> None:
    model = import_model(directory, models_dir)
    assets = read_text_assets(local_path(model.uri))
    assert text_digest(assets) == model.text_digest
    assert assets.chat_template == TEMPLATE
    assert (assets.bos_token, assets.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert assets.eos_token_ids == (1,)
    assert not assets.add_bos
    tokenizer = Tokenizer.from_str(assets.tokenizer_json)
    assert tokenizer.decode(tokenizer.encode("hello, wörld").ids) == "hello, wörld"


def test_importing_twice_changes_nothing(directory: Path, models_dir: Path) -> None:
    first = import_model(directory, models_dir)
    before = {path: path.stat().st_mtime_ns for path in models_dir.rglob("*")}
    assert import_model(directory, models_dir) == first
    assert {path: path.stat().st_mtime_ns for path in models_dir.rglob("*")} == before


def test_the_digest_does_not_depend_on_the_place(
    directory: Path, models_dir: Path, tmp_path: Path
) -> None:
    elsewhere = directory.rename(tmp_path / "moved")
    first = import_model(elsewhere, models_dir)
    assert import_model(elsewhere, tmp_path / "other").digest == first.digest


def test_another_weight_gives_another_digest(directory: Path, models_dir: Path) -> None:
    first = import_model(directory, models_dir)
    body = bytearray((directory / "model.safetensors").read_bytes())
    body[-1] ^= 1
    (directory / "model.safetensors").write_bytes(body)
    assert import_model(directory, models_dir).digest != first.digest


def test_a_damaged_model_is_mended_by_importing_again(directory: Path, models_dir: Path) -> None:
    path = local_path(import_model(directory, models_dir).uri)
    (path / "model.safetensors").write_bytes(b"rotten")
    with pytest.raises(Damaged):
        verify_tree(path)
    import_model(directory, models_dir)
    verify_tree(path)


def test_shards_become_the_same_model_as_one_file(
    directory: Path, models_dir: Path, tmp_path: Path
) -> None:
    digest = import_model(directory, tmp_path / "other").digest
    whole = weights()
    (directory / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for number in (0, 1):
        name = f"model-{number + 1:05}-of-00002.safetensors"
        part = {key: whole[key] for key in list(whole)[number::2]}
        save_file(part, directory / name)
        weight_map |= dict.fromkeys(part, name)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    assert import_model(directory, models_dir).digest == digest


def test_progress_reaches_its_total(directory: Path, models_dir: Path) -> None:
    told: list[tuple[str, int, int]] = []
    model = import_model(directory, models_dir, lambda *step: told.append(step))
    index = parse_index((models_dir / model.digest / "package.json").read_bytes(), "it")
    size = index.data_bytes
    assert told[0] == ("weights", 0, size)
    assert told[-1] == ("weights", size, size)


def test_a_template_file_goes_before_the_tokenizer_config(
    directory: Path, models_dir: Path
) -> None:
    (directory / "chat_template.jinja").write_text("other")
    model = import_model(directory, models_dir)
    assert read_text_assets(local_path(model.uri)).chat_template == "other"


def test_the_default_of_named_templates_is_taken(
    directory: Path, models_dir: Path, change_json: Change
) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    change_json(directory / "tokenizer_config.json", chat_template=named)
    model = import_model(directory, models_dir)
    assert read_text_assets(local_path(model.uri)).chat_template == "d"


def test_the_template_s_end_of_turn_ends_an_answer(
    directory: Path, models_dir: Path, change_json: Change
) -> None:
    change_json(directory / "config.json", eos_token_id=0)
    change_json(directory / "generation_config.json", eos_token_id=None)
    change_json(directory / "tokenizer_config.json", eos_token=None, bos_token={"content": "h"})
    assets = read_text_assets(local_path(import_model(directory, models_dir).uri))
    assert assets.eos_token_ids == (0, 1)
    assert assets.bos_token == "h"


def test_defaults_of_the_config_are_written_out(
    directory: Path, models_dir: Path, change_json: Change
) -> None:
    change_json(
        directory / "config.json",
        num_key_value_heads=2,
        rope_theta=None,
        rope_parameters={"rope_theta": 5e5, "rope_type": "default"},
        auto_map={"AutoModel": "evil.Model"},
    )
    path = local_path(import_model(directory, models_dir).uri)
    config = json.loads((path / "config.json").read_text())
    assert config["head_dim"] == 16
    assert config["rope_theta"] == 5e5
    assert config["rope_scaling"] is None
    assert "auto_map" not in config
    assert config["hidden_size"] == CONFIG["hidden_size"]


def test_the_links_of_a_hugging_face_cache_are_followed(
    directory: Path, models_dir: Path, tmp_path: Path
) -> None:
    blobs, snapshot = tmp_path / "repo/blobs", tmp_path / "repo/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in directory.iterdir():
        file.rename(blobs / f"sha-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/sha-{file.name}")
    assert import_model(snapshot, models_dir).parameters > 0

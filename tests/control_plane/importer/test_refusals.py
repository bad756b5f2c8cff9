"""What bad sources get: one line that says what to do, and nothing written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from control_plane.importer.errors import (
    Corrupt,
    ImportRefused,
    SourceMissing,
    UnsafePath,
    Unsupported,
)
from control_plane.importer.model import import_model
from tests.control_plane.importer.tiny_model import weights

Change = Callable[..., None]


def refused(source: str | Path, models_dir: Path, kind: type[ImportRefused]) -> str:
    with pytest.raises(kind) as caught:
        import_model(source, models_dir)
    message = str(caught.value)
    assert "\n" not in message
    assert not models_dir.exists() or list(models_dir.iterdir()) == []
    return message


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("relative/model", UnsafePath),
        ("../../etc", UnsafePath),
        ("/srv/models/../../etc", UnsafePath),
        ("/a\0b", UnsafePath),
        ("", UnsafePath),
        ("hf://model", ImportRefused),
        ("s3://B/x", ImportRefused),
        ("/no/such/place", SourceMissing),
        ("/dev/null", ImportRefused),
        ("pypi:", ImportRefused),
        ("pypi:--index-url=x", ImportRefused),
        ("pypi:a b", ImportRefused),
        ("pypi:name>=1", ImportRefused),
        ("pypi:../x", ImportRefused),
    ],
)
def test_a_source_that_is_no_source_is_refused(
    models_dir: Path, source: str, kind: type[ImportRefused]
) -> None:
    refused(source, models_dir, kind)


@pytest.mark.parametrize(
    ("missing", "word"),
    [
        ("config.json", "config.json"),
        ("tokenizer.json", "tokenizer.json"),
        ("model.safetensors", "safetensors"),
    ],
)
def test_a_missing_file_is_named(
    directory: Path, models_dir: Path, missing: str, word: str
) -> None:
    (directory / missing).unlink()
    assert word in refused(directory, models_dir, SourceMissing)


def test_pickled_weights_are_never_opened(directory: Path, models_dir: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    assert "safe_serialization" in refused(directory, models_dir, Unsupported)


def test_an_index_of_pickles_is_refused(directory: Path, models_dir: Path) -> None:
    _index(directory, dict.fromkeys(weights(), "pytorch_model.bin"))
    refused(directory, models_dir, Unsupported)


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/x.safetensors", "a/b.safetensors"])
def test_an_index_cannot_name_a_file_elsewhere(
    directory: Path, models_dir: Path, name: str
) -> None:
    _index(directory, dict.fromkeys(weights(), name))
    refused(directory, models_dir, UnsafePath)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(
    directory: Path, models_dir: Path, tmp_path: Path, file: str
) -> None:
    (directory / file).rename(tmp_path / "outside")
    (directory / file).symlink_to(tmp_path / "outside")
    refused(directory, models_dir, UnsafePath)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"model.norm.weight": "model.safetensors"},
        dict.fromkeys([*weights(), "extra"], "model.safetensors"),
        {},
        "x",
        dict.fromkeys(weights(), 5),
        dict.fromkeys(weights(), "missing.safetensors"),
    ],
)
def test_an_index_that_lies_is_refused(directory: Path, models_dir: Path, weight_map: Any) -> None:
    _index(directory, weight_map)
    refused(directory, models_dir, ImportRefused)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"architectures": ["BertModel"]}, Unsupported),
        ({"architectures": None}, Corrupt),
        ({"architectures": ["LlamaForCausalLM", "X"]}, Corrupt),
        ({"quantization_config": {"quant_method": "gptq"}}, Unsupported),
        ({"hidden_act": "gelu"}, Unsupported),
        ({"hidden_size": "64"}, Corrupt),
        ({"hidden_size": 65}, Corrupt),
        ({"hidden_size": -1}, Corrupt),
        ({"num_hidden_layers": 1 << 60}, Corrupt),
        ({"num_hidden_layers": 100_000}, Corrupt),
        ({"num_hidden_layers": 3}, Corrupt),
        ({"num_hidden_layers": True}, Corrupt),
        ({"num_key_value_heads": 3}, Corrupt),
        ({"num_attention_heads": 0}, Corrupt),
        ({"vocab_size": 100}, Corrupt),
        ({"rms_norm_eps": -1.0}, Corrupt),
        ({"rope_theta": float("nan")}, Corrupt),
        ({"rope_scaling": 5}, Corrupt),
        ({"rope_scaling": {"type": "longrope", "factor": 4.0}}, Unsupported),
        ({"rope_scaling": {"type": "yarn"}}, Corrupt),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, Unsupported),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, Unsupported),
        ({"attention_bias": True}, Unsupported),
        ({"mlp_bias": True}, Unsupported),
        ({"tie_word_embeddings": "yes"}, Corrupt),
        ({"tie_word_embeddings": False}, Corrupt),
    ],
)
def test_an_impossible_config_is_refused(
    directory: Path,
    models_dir: Path,
    change_json: Change,
    fields: dict[str, Any],
    kind: type[ImportRefused],
) -> None:
    change_json(directory / "config.json", **fields)
    refused(directory, models_dir, kind)


@pytest.mark.parametrize("eos", ["2", -1, [None], 1 << 40, 260, {"a": 1}])
def test_an_end_token_that_the_model_lacks_is_refused(
    directory: Path, models_dir: Path, change_json: Change, eos: Any
) -> None:
    change_json(directory / "generation_config.json", eos_token_id=eos)
    refused(directory, models_dir, Corrupt)


def test_a_tokenizer_larger_than_the_model_is_refused(directory: Path, models_dir: Path) -> None:
    document = json.loads((directory / "tokenizer.json").read_text())
    document["model"]["vocab"]["zzz"] = 260
    (directory / "tokenizer.json").write_text(json.dumps(document))
    refused(directory, models_dir, Corrupt)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"", b"\xff\xfe", b"{" * 100_000, b'{"a":1,"a":2}'])
@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
def test_damaged_json_is_refused_or_harmless(
    directory: Path, models_dir: Path, file: str, body: bytes
) -> None:
    (directory / file).write_bytes(body)
    if body == b"{}" and file in ("tokenizer_config.json", "generation_config.json"):
        import_model(directory, models_dir)
    else:
        refused(directory, models_dir, ImportRefused)


@pytest.mark.parametrize("template", [5, [{"name": "x", "template": "y"}], {"a": "b"}])
def test_a_template_that_is_no_text_is_refused(
    directory: Path, models_dir: Path, change_json: Change, template: Any
) -> None:
    change_json(directory / "tokenizer_config.json", chat_template=template)
    refused(directory, models_dir, Corrupt)


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "dtype"])
def test_tensors_that_do_not_fit_the_config_are_refused(
    directory: Path, models_dir: Path, change: str
) -> None:
    tensors = weights()
    match change:
        case "missing":
            del tensors["model.norm.weight"]
        case "extra":
            tensors["model.layers.0.mystery"] = np.zeros(3, np.float32)
        case "shape":
            tensors["model.norm.weight"] = np.zeros(3, np.float32)
        case "dtype":
            tensors["model.norm.weight"] = np.zeros(64, np.int64)
    save_file(tensors, directory / "model.safetensors")
    refused(directory, models_dir, ImportRefused)


def test_an_unreadable_source_is_said_in_one_line(directory: Path, models_dir: Path) -> None:
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")
    refused(directory, models_dir, SourceMissing)


def test_a_destination_that_cannot_be_made_is_said_in_one_line(
    directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImportRefused, match="check the path"):
        import_model(directory, tmp_path / "file" / "models")


def _index(directory: Path, weight_map: Any) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from tokenizers import Tokenizer

from control_plane.importer import gguf_weights
from control_plane.importer.errors import ImportRefused
from control_plane.importer.model import import_model
from control_plane.importer.text_assets import read_text_assets
from infra.storage.directory import local_path
from tests.control_plane.importer.tiny_model import (
    TEMPLATE,
    packed_weights,
    tokenizer,
    vocabulary,
    weights,
    write_gguf,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def test_float32_weights_come_back_as_they_went_in(file: Path, models_dir: Path) -> None:
    model = import_model(write_gguf(file), models_dir)
    loaded = packed_weights(local_path(model.uri))
    expected = weights()
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(loaded[name], tensor), name


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_1])
def test_other_types_are_dequantised_losslessly(file: Path, models_dir: Path, kind: Kind) -> None:
    model = import_model(write_gguf(file, kind), models_dir)
    loaded = packed_weights(local_path(model.uri))
    for name, tensor in weights().items():
        if tensor.ndim == 2:
            tensor = gguf.dequantize(gguf.quantize(tensor, kind), kind).astype(np.float32)
        assert np.array_equal(loaded[name], tensor), name


def test_how_much_is_read_at_once_does_not_matter(
    file: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(file, Kind.Q8_0)
    whole = import_model(file, models_dir)
    monkeypatch.setattr(gguf_weights, "BLOCK_BYTES", 400)
    assert import_model(file, tmp_path / "other").digest == whole.digest


def test_config_text_and_ends_come_from_the_metadata(file: Path, models_dir: Path) -> None:
    model = import_model(write_gguf(file), models_dir)
    path = local_path(model.uri)
    config = json.loads((path / "config.json").read_text())
    assert config["num_key_value_heads"] == 2
    assert config["head_dim"] == 16
    assert config["tie_word_embeddings"] is True
    assert config["vocab_size"] == model.vocabulary_size == 260
    assert model.max_context_tokens == 128
    assert json.loads((path / "generation_config.json").read_text())["eos_token_id"] == [1]
    assets = read_text_assets(path)
    assert assets.chat_template == TEMPLATE
    assert assets.eos_token_ids == (1,)
    built = Tokenizer.from_str(assets.tokenizer_json)
    said = "hello <|im_start|> wörld  12"
    assert built.encode(said).ids == tokenizer().encode(said).ids


def test_a_bos_is_added_where_the_file_says_so(file: Path, models_dir: Path) -> None:
    write_gguf(file, overrides={"tokenizer.ggml.add_bos_token": True})
    assets = read_text_assets(local_path(import_model(file, models_dir).uri))
    assert assets.add_bos
    assert Tokenizer.from_str(assets.tokenizer_json).encode("h").ids[0] == 0


def test_user_defined_tokens_are_matched_whole_and_shown(file: Path, models_dir: Path) -> None:
    tokens = [*vocabulary()[:-1], "<think>"]
    write_gguf(
        file,
        overrides={
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3, 3] + [1] * 257 + [4],
            "tokenizer.ggml.merges": ["h e"],
        },
    )
    assets = read_text_assets(local_path(import_model(file, models_dir).uri))
    built = Tokenizer.from_str(assets.tokenizer_json)
    assert built.encode("a<think>").ids[-1] == 259
    assert built.decode([259], skip_special_tokens=True) == "<think>"


@pytest.mark.parametrize(
    "overrides",
    [
        {"general.architecture": "qwen9"},
        {"llama.block_count": None},
        {"llama.block_count": 3},
        {"llama.block_count": 1},
        {"llama.block_count": 1 << 30},
        {"llama.embedding_length": 32},
        {"llama.attention.head_count": 3},
        {"llama.attention.head_count_kv": [2, 2]},
        {"llama.rope.dimension_count": 15},
        {"llama.rope.scaling.type": "yarn"},
        {"llama.rope.freq_base": float("nan")},
        {"tokenizer.ggml.model": "llama"},
        {"tokenizer.ggml.model": None},
        {"tokenizer.ggml.pre": "unheard-of"},
        {"tokenizer.ggml.tokens": None},
        {"tokenizer.ggml.tokens": [1, 2]},
        {"tokenizer.ggml.tokens": ["a"] * 260},
        {"tokenizer.ggml.tokens": [*vocabulary(), "more"], "tokenizer.ggml.token_type": None},
        {"tokenizer.ggml.token_type": [3, 3]},
        {"tokenizer.ggml.merges": None},
        {"tokenizer.ggml.merges": ["ab"]},
        {"tokenizer.ggml.merges": ["a b c"]},
        {"tokenizer.ggml.merges": ["x y"]},
        {"tokenizer.ggml.eos_token_id": 260},
        {"tokenizer.ggml.bos_token_id": "0"},
        {"tokenizer.chat_template": 5},
    ],
    ids=str,
)
def test_metadata_that_cannot_be_served_is_refused(
    file: Path, models_dir: Path, overrides: dict[str, Any]
) -> None:
    write_gguf(file, overrides=overrides)
    with pytest.raises(ImportRefused) as caught:
        import_model(file, models_dir)
    assert "\n" not in str(caught.value)
    assert list(models_dir.iterdir()) == []

"""A checkpoint fills its model wholly, or is refused with the name of what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infra.safetensors import INDEX_FILE
from tests.fixtures.tiny_llama import TinyLlama
from worker.loader.checkpoint import Checkpoint
from worker.loader.weights import check_weights, fill_part
from worker.models.base import ModelError


def model_like(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(tensor.shape) for name, tensor in weights.items()}


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(4, 3), "b": torch.randn(5).to(torch.bfloat16)}


def save(directory: Path, weights: dict[str, torch.Tensor]) -> Checkpoint:
    save_file(weights, directory / "model.safetensors")
    return Checkpoint(directory)


def test_every_tensor_arrives(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    wanted = model_like(weights)
    fill_part(wanted, save(tmp_path, weights))
    assert all(torch.equal(wanted[name], weights[name].float()) for name in weights)


def test_shards_with_an_index_give_what_one_file_gives(tiny_llama: TinyLlama) -> None:
    single, sharded = tiny_llama(seed=3), tiny_llama(seed=3, max_shard_size="100KB")
    assert (sharded / INDEX_FILE).exists()
    expected = load_file(single / "model.safetensors")
    wanted = model_like(expected)
    fill_part(wanted, Checkpoint(sharded))
    assert all(torch.equal(wanted[name], expected[name]) for name in expected)


def test_a_missing_tensor_is_named(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    wanted = model_like({**weights, "c": torch.ones(1)})
    with pytest.raises(ModelError, match="lacks c,"):
        check_weights(wanted, save(tmp_path, weights))


def test_an_extra_tensor_is_named(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    wanted = model_like({"a": weights["a"]})
    with pytest.raises(ModelError, match="has b, which"):
        check_weights(wanted, save(tmp_path, weights))


def test_a_wrong_shape_is_named(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    wanted = {"a": torch.zeros(4, 3), "b": torch.zeros(6)}
    with pytest.raises(ModelError, match=r"b has shape \[5\]; config.json calls for \[6\]"):
        check_weights(wanted, save(tmp_path, weights))


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, {"a": torch.arange(3)})
    with pytest.raises(ModelError, match="floating point"):
        check_weights({"a": torch.zeros(3)}, checkpoint)


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../escape.safetensors"}, "not the name of a file beside it"),
        ({"a": "/etc/passwd"}, "not the name of a file beside it"),
        ({"a": 3}, "not the name of a file beside it"),
        ({"a": "missing.safetensors"}, "is missing"),
        ({"a": "one.safetensors", "z": "one.safetensors"}, "z is in one.safetensors"),
        ({"a": "one.safetensors"}, "names 1 tensors; its shards hold 2"),
        ({}, "weight_map"),
        (["a"], "weight_map"),
    ],
)
def test_an_index_that_lies_is_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], weight_map: object, message: str
) -> None:
    save_file(weights, tmp_path / "one.safetensors")
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match=message):
        Checkpoint(tmp_path)

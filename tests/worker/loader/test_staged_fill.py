"""Weights that pass through small buffers are those that were copied at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.fixtures.packed_model import PackedModel
from tests.fixtures.tiny_decoder import TinyDecoder
from worker.loader.opening import land
from worker.loader.package import Package
from worker.loader.staged_fill import StagedFill
from worker.loader.weights import fill_part
from worker.models.base import Placement, Quantization
from worker.models.layers.linear import Int8Weight, WeightPart
from worker.models.registry import builder_of, read_json


@pytest.fixture(scope="module")
def directory(tiny_decoder: TinyDecoder) -> Path:
    return tiny_decoder("Qwen2", hidden_size=128, num_attention_heads=8)


@pytest.mark.parametrize("packing", [{}, {"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("buffer_bytes", [100, 3000])
def test_buffers_smaller_than_a_tensor_change_nothing(
    directory: Path,
    packed_model: PackedModel,
    packing: dict[str, str],
    quantization: Quantization,
    buffer_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As on a GPU, where weights are not in panels.
    monkeypatch.setattr("worker.models.layers.linear.multiplies", lambda _dtype: False)
    packed = packed_model(directory, **packing)
    config = read_json(packed / "config.json")
    placement = Placement(torch.float32, torch.device("cpu"), 64, quantization=quantization)
    models = [builder_of(config)(config, placement) for _ in range(2)]
    fill_part(models[0].tensors(), Package(land(packed)))
    StagedFill(torch.device("cpu"), buffer_bytes)(models[1].tensors(), Package(land(packed)))
    for at_once, staged in zip(*(model.tensors().values() for model in models), strict=True):
        if isinstance(at_once, WeightPart):
            assert isinstance(staged, WeightPart)
            assert isinstance(at_once.weight, Int8Weight) is (quantization == "int8")
            rows = torch.arange(at_once.first, at_once.first + at_once.outputs)
            assert torch.equal(at_once.weight.rows(rows), staged.weight.rows(rows))
        else:
            assert isinstance(at_once, torch.Tensor)
            assert isinstance(staged, torch.Tensor)
            assert torch.equal(at_once, staged)

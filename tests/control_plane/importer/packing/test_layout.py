"""What lies where, for every architecture that is imported."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.importer.architectures import ARCHITECTURES
from control_plane.importer.architectures.base import Architecture
from control_plane.importer.errors import Unsupported
from control_plane.importer.packing.layout import Layout, Origin, plan_layout
from control_plane.importer.packing.request import Packing
from control_plane.importer.tensors import TensorKind
from infra.package_tensors import ALIGNMENT_BYTES, SCALES
from tests.fixtures.requirements import imported

_RAW: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 260,
    "num_experts": 3,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
    "mlp_only_layers": [1],
}

each_architecture = pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=lambda it: it.hf_name
)
each_tying = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])


def _config(architecture: Architecture, tied: bool) -> dict[str, Any]:
    return architecture.config(
        {**_RAW, "architectures": [architecture.hf_name], "tie_word_embeddings": tied}
    )


def _layout(
    architecture: Architecture, packing: Packing, tied: bool = False, dtype: str = "BF16"
) -> Layout:
    config = _config(architecture, tied)
    kinds = {name: TensorKind(dtype, shape) for name, shape in architecture.tensors(config).items()}
    return plan_layout(architecture, config, kinds, packing)


@each_architecture
@each_tying
def test_every_tensor_is_placed_once_in_its_group(architecture: Architecture, tied: bool) -> None:
    layout = _layout(architecture, Packing(), tied)
    config = _config(architecture, tied)
    placed = [each for each in layout.placed if each.origin is not Origin.PADDING]
    assert {each.name: each.shape for each in placed} == architecture.tensors(config)
    groups = {group.name: group for group in layout.groups}
    assert list(groups) == ["embedding", "layer.0", "layer.1", "layer.2", "head"]
    for each in placed:
        assert each.begin % ALIGNMENT_BYTES == 0
        layer = each.name.split(".")[2] if ".layers." in each.name else None
        name = f"layer.{layer}" if layer else "embedding" if "embed" in each.name else "head"
        assert groups[name].begin <= each.begin <= each.end <= groups[name].end


@each_architecture
@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_what_is_multiplied_at_once_lies_together(
    architecture: Architecture, quantization: Any
) -> None:
    layout = _layout(architecture, Packing(quantization=quantization))
    ends = {each.end: each.name for each in layout.placed if each.size_bytes}
    begins = {each.name: each.begin for each in layout.placed}
    query, key, value = (f"model.layers.0.self_attn.{each}_proj.weight" for each in "qkv")
    assert (ends[begins[key]], ends[begins[value]]) == (query, key)
    for up in (name for name in begins if name.endswith((".up_proj.weight", ".w3.weight"))):
        gate = up.replace(".up_proj.", ".gate_proj.").replace(".w3.", ".w1.")
        assert ends[begins[up]] == gate
    if quantization == "int8":
        assert ends[begins[key + SCALES]] == query + SCALES


@each_architecture
@each_tying
def test_int8_is_for_what_the_worker_makes_a_linear_of(
    architecture: Architecture, tied: bool
) -> None:
    torch = imported("torch")
    from worker.models.base import Placement
    from worker.models.layers.linear import WeightPart
    from worker.models.registry import builder_of

    config = _config(architecture, tied)
    placement = Placement(torch.float32, torch.device("meta"), 1)
    wanted = builder_of(config)(config, placement).tensors()
    linear = {name for name, target in wanted.items() if isinstance(target, WeightPart)}
    layout = _layout(architecture, Packing(quantization="int8"), tied)
    assert {each.name for each in layout.placed if each.dtype == "I8"} == linear
    assert list(architecture.tensors(config)) == [name for name in _order(layout) if name in wanted]


def _order(layout: Layout) -> list[str]:
    return [each.name for each in layout.placed]


@each_architecture
def test_a_tied_head_is_kept_once(architecture: Architecture) -> None:
    layout = _layout(architecture, Packing(), tied=True)
    assert layout.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    assert "lm_head.weight" not in _order(layout)


def test_slices_are_for_matrices_that_are_cut_along_their_inputs() -> None:
    layout = _layout(ARCHITECTURES[0], Packing(quantization="int8", slices=2))
    shapes = {each.name: each.shape for each in layout.placed}
    down = "model.layers.0.mlp.down_proj.weight"
    assert shapes[down] == (2, 128, 192)
    assert shapes[down + SCALES] == (2, 128, 3)
    assert shapes["model.layers.0.self_attn.o_proj.weight"] == (2, 128, 64)
    assert shapes["model.layers.0.mlp.up_proj.weight"] == (384, 128)
    assert set(layout.slices) == {
        name for name in shapes if name.endswith((".o_proj.weight", ".down_proj.weight"))
    }


@pytest.mark.parametrize(
    ("packing", "message"),
    [
        (Packing(slices=5), "128 inputs, which are not 5 slices"),
        (Packing(slices=4, quantization="int8"), "whole groups of 64"),
    ],
)
def test_slices_that_do_not_come_out_even_are_refused(packing: Packing, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        _layout(ARCHITECTURES[0], packing)

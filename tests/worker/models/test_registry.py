"""What cannot be run is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from worker.models.base import ModelError, Placement
from worker.models.registry import builder_of, read_json

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


def build(**changes: Any) -> None:
    config = {**CONFIG, **changes}
    builder_of(config)(config, Placement(torch.float32, torch.device("meta"), 8))


def test_the_plain_config_is_accepted() -> None:
    build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel is not supported .known: Gemma3"),
        ({"architectures": None}, "'architectures' must be a list"),
        ({"architectures": []}, "not supported"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": 63}, "no multiple of num_attention_heads"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"head_dim": 15}, "must be even"),
        ({"hidden_act": "gelu"}, "'gelu' is not supported"),
        ({"attention_bias": True}, "attention_bias"),
        (
            {"rope_parameters": {"rope_type": "longrope", "factor": 2}},
            "rope_type 'longrope' is not supported",
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2}},
            "rope_type 'dynamic' is not supported",
        ),
        ({"rope_scaling": {"type": 3, "factor": 2}}, "rope_type"),
        ({"rope_scaling": {"type": "linear"}}, "must say its factor"),
        ({"rope_scaling": {"type": "yarn", "factor": -1}}, "factor"),
        ({"rope_parameters": {"full_attention": {}}}, "of a kind for each layer"),
        ({"quantization_config": {"bits": 4}}, "quantised checkpoints are not run"),
    ],
)
def test_a_config_that_cannot_be_run_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("Mistral", {"sliding_window": 0}, "sliding_window"),
        ("Qwen2", {"layer_types": ["full_attention"] * 2}, "names 2 layers, num_hidden_layers 1"),
        ("Qwen2", {"layer_types": ["linear_attention"]}, "'linear_attention' is not supported"),
        ("Qwen2", {"layer_types": ["sliding_attention"]}, "sliding_window is not given"),
        ("Mixtral", {"num_experts_per_tok": 9}, "num_experts_per_tok is 9, of 8 experts"),
        ("Qwen3Moe", {"num_experts": 8, "num_local_experts": 4}, "num_local_experts 4"),
        ("Qwen3Moe", {"num_experts_per_tok": 129}, "129, of 128 experts"),
        ("Gemma3", {"hidden_activation": "gelu"}, "'gelu' is not supported"),
        ("Gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("Gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        (
            "Gemma3",
            {"rope_parameters": {"sliding_attention": {"rope_type": "x", "factor": 1}}},
            "'x'",
        ),
        ("Gemma3", {"rope_parameters": {"full_attention": 3}}, "object"),
    ],
)
def test_a_config_that_contradicts_its_architecture_says_how(
    architecture: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build(architectures=[f"{architecture}ForCausalLM"], **changes)


def test_a_missing_field_is_named() -> None:
    config = {name: value for name, value in CONFIG.items() if name != "vocab_size"}
    with pytest.raises(ModelError, match="vocab_size"):
        builder_of(config)(config, Placement(torch.float32, torch.device("meta"), 8))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_json(path)


def test_a_missing_config_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing"):
        read_json(tmp_path / "config.json")

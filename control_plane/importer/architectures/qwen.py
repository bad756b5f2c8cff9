"""Qwen2 and Qwen2.5 (arXiv 2407.10671), Qwen3 and Qwen3-MoE (arXiv 2505.09388)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import Shape, count
from control_plane.importer.architectures.decoder import Decoder
from control_plane.importer.architectures.experts import expert_mlps, read_experts
from control_plane.importer.errors import Corrupt


class Qwen2(Decoder):
    hf_name = "Qwen2ForCausalLM"
    model_type = "qwen2"
    default_context_tokens = 32768
    has_bias = True


class Qwen3(Decoder):
    hf_name = "Qwen3ForCausalLM"
    model_type = "qwen3"
    default_context_tokens = 32768
    default_head_dim = 128
    has_head_norms = True


class Qwen3Moe(Decoder):
    hf_name = "Qwen3MoeForCausalLM"
    model_type = "qwen3_moe"
    default_context_tokens = 32768
    has_head_norms = True

    def own_config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        # Newer versions of transformers write `num_local_experts`.
        named = {raw[key] for key in ("num_experts", "num_local_experts") if raw.get(key)}
        if len(named) > 1:
            raise Corrupt(f"num_experts and num_local_experts disagree: {sorted(named)}")
        experts = {**raw, "num_experts": named.pop() if named else None}
        dense = raw.get("mlp_only_layers") or []
        if not isinstance(dense, list) or not all(type(layer) is int for layer in dense):
            raise Corrupt(f"mlp_only_layers must be a list of layers, it is {dense!r}")
        return {
            **read_experts(experts, "num_experts", 128, 8),
            "moe_intermediate_size": count(raw, "moe_intermediate_size", 768),
            "decoder_sparse_step": count(raw, "decoder_sparse_step", 1),
            "mlp_only_layers": dense,
        }

    def mlp(self, config: Mapping[str, Any], layer: int) -> dict[str, Shape]:
        if layer in config["mlp_only_layers"] or (layer + 1) % config["decoder_sparse_step"]:
            return super().mlp(config, layer)
        return expert_mlps(
            "mlp.", config["num_experts"], config["hidden_size"], config["moe_intermediate_size"]
        )


QWEN2 = Qwen2()
QWEN3 = Qwen3()
QWEN3_MOE = Qwen3Moe()

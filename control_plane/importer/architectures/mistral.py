"""Mistral (arXiv 2310.06825) and Mixtral (arXiv 2401.04088)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import Shape, count
from control_plane.importer.architectures.decoder import Decoder
from control_plane.importer.architectures.experts import expert_mlps, read_experts


class Mistral(Decoder):
    hf_name = "MistralForCausalLM"
    model_type = "mistral"
    default_context_tokens = 131072
    default_window: int | None = 4096

    def own_config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        # Left out, it is the first release's; null is none.
        window = raw.get("sliding_window", self.default_window)
        if window is not None:
            window = count({"sliding_window": window}, "sliding_window")
        return {"sliding_window": window}


class Mixtral(Mistral):
    hf_name = "MixtralForCausalLM"
    model_type = "mixtral"
    default_epsilon = 1e-5
    default_theta = 1e6
    default_window = None

    def own_config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().own_config(raw), **read_experts(raw, "num_local_experts", 8, 2)}

    def mlp(self, config: Mapping[str, Any], layer: int) -> dict[str, Shape]:  # noqa: ARG002
        return expert_mlps(
            "block_sparse_moe.",
            config["num_local_experts"],
            config["hidden_size"],
            config["intermediate_size"],
            ("w1", "w3", "w2"),
        )


MISTRAL = Mistral()
MIXTRAL = Mixtral()

"""Gemma 3 (arXiv 2503.19786), the models and checkpoints of text only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import flag
from control_plane.importer.architectures.decoder import Decoder
from control_plane.importer.architectures.rope import check_rope
from control_plane.importer.errors import Corrupt, Unsupported


class Gemma3(Decoder):
    hf_name = "Gemma3ForCausalLM"
    model_type = "gemma3_text"
    activation = ("hidden_activation", "gelu_pytorch_tanh")
    default_context_tokens = 131072
    default_theta = 1e6
    default_head_dim = 256
    default_tied = True
    layer_norms = (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    )
    has_head_norms = True

    def rope(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Global and local layers turn differently, as newer configs or the first ones say it."""
        kinds = raw.get("rope_parameters") or {}
        if not isinstance(kinds, dict):
            raise Corrupt(f"the model's configuration has rope_parameters that are {kinds!r}")
        theta, scaling = check_rope(
            kinds.get("full_attention") or raw.get("rope_scaling"),
            raw.get("rope_theta"),
            self.default_theta,
        )
        check_rope(kinds.get("sliding_attention"), raw.get("rope_local_base_freq"), 1e4)
        return {"rope_theta": theta, "rope_scaling": scaling}

    def own_config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        if raw.get("attn_logit_softcapping") is not None:
            raise Unsupported("attn_logit_softcapping is not supported for Gemma 3, which has none")
        if flag(raw, "use_bidirectional_attention", False):
            raise Unsupported("use_bidirectional_attention is not supported: it generates no text")
        return {}


GEMMA3 = Gemma3()

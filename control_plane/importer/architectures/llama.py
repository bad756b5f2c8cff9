"""Llama (arXiv 2302.13971) and what shares its shape: grouped-query attention, RoPE, SwiGLU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import GgufPlan, count, real
from control_plane.importer.architectures.decoder import Decoder
from control_plane.importer.errors import Unsupported

_GGUF_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_GGUF_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GGUF_NAME = re.compile(r"blk\.(0|[1-9][0-9]{0,3})\.([a-z_]+)\.weight")


class Llama(Decoder):
    gguf_name = "llama"

    def config_from_gguf(
        self, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Any]:
        values = {
            key.removeprefix("llama."): value
            for key, value in metadata.items()
            if key.startswith("llama.")
        }
        # Neither transformers nor this importer can turn the factors of a rope_freqs tensor back
        # into the rope_scaling of a config.json.
        scaling = values.get("rope.scaling.type", "none")
        if scaling != "none" or any(name.startswith("rope_f") for name in shapes):
            raise Unsupported("this GGUF scales RoPE: import the Hugging Face directory instead")
        heads = count(values, "attention.head_count")
        embedding = shapes.get("token_embd.weight", ())
        return self.config(
            {
                "hidden_size": count(values, "embedding_length"),
                "intermediate_size": count(values, "feed_forward_length"),
                "num_hidden_layers": count(values, "block_count"),
                "num_attention_heads": heads,
                "num_key_value_heads": count(values, "attention.head_count_kv", heads),
                "head_dim": values.get("attention.key_length", values.get("rope.dimension_count")),
                "vocab_size": embedding[0] if embedding else None,
                "max_position_embeddings": count(values, "context_length"),
                "rms_norm_eps": real(values, "attention.layer_norm_rms_epsilon"),
                "rope_theta": real(values, "rope.freq_base", 10000.0),
                "tie_word_embeddings": "output.weight" not in shapes,
                "torch_dtype": "float32",
            }
        )

    def gguf_plan(self, name: str, config: Mapping[str, Any]) -> GgufPlan | None:
        if name in _GGUF_TOP:
            return GgufPlan(_GGUF_TOP[name])
        match = _GGUF_NAME.fullmatch(name)
        if match is None or match[2] not in _GGUF_LAYER:
            return None
        # llama.cpp stores q and k for RoPE on neighbouring pairs; checkpoints rotate the halves.
        rotary_rows = config["head_dim"] if match[2] in ("attn_q", "attn_k") else 0
        return GgufPlan(f"model.layers.{match[1]}.{_GGUF_LAYER[match[2]]}.weight", rotary_rows)


LLAMA = Llama()

"""Llama (arXiv 2302.13971) and what shares its shape: grouped-query attention, RoPE, SwiGLU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import GgufPlan, count, flag, real
from control_plane.importer.errors import Corrupt, Unsupported

_LAYER_LIMIT = 1024
_ROPE_TYPES = ("default", "linear", "llama3")
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


class Llama:
    hf_name = "LlamaForCausalLM"
    gguf_name = "llama"

    def config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        if raw.get("quantization_config"):
            raise Unsupported("the checkpoint is quantised: import the original weights instead")
        if raw.get("hidden_act", "silu") != "silu":
            raise Unsupported(f"hidden_act {raw['hidden_act']!r} is not supported; supported: silu")
        for bias in ("attention_bias", "mlp_bias"):
            if flag(raw, bias, False):
                raise Unsupported(f"{bias} is not supported: only Llama without biases is")
        hidden_size = count(raw, "hidden_size")
        heads = count(raw, "num_attention_heads")
        rope_theta, rope_scaling = _rope(raw)
        config = {
            **{key: value for key, value in raw.items() if key != "auto_map"},
            "architectures": [self.hf_name],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": hidden_size,
            "intermediate_size": count(raw, "intermediate_size"),
            "num_hidden_layers": count(raw, "num_hidden_layers"),
            "num_attention_heads": heads,
            "num_key_value_heads": count(raw, "num_key_value_heads", heads),
            "head_dim": count(raw, "head_dim", hidden_size // heads),
            "vocab_size": count(raw, "vocab_size"),
            "max_position_embeddings": count(raw, "max_position_embeddings", 2048),
            "rms_norm_eps": real(raw, "rms_norm_eps", 1e-6),
            "rope_theta": rope_theta,
            "rope_scaling": rope_scaling,
            "tie_word_embeddings": flag(raw, "tie_word_embeddings", False),
            "attention_bias": False,
            "mlp_bias": False,
        }
        _check(config)
        return config

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

    def tensors(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        queries = config["num_attention_heads"] * config["head_dim"]
        keys = config["num_key_value_heads"] * config["head_dim"]
        matrices = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        tensors: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (config["vocab_size"], hidden)
        }
        for layer in range(config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            tensors[prefix + "input_layernorm.weight"] = (hidden,)
            tensors[prefix + "post_attention_layernorm.weight"] = (hidden,)
            for name, shape in matrices.items():
                tensors[f"{prefix}{name}.weight"] = shape
        tensors["model.norm.weight"] = (hidden,)
        if not config["tie_word_embeddings"]:
            tensors["lm_head.weight"] = (config["vocab_size"], hidden)
        return tensors

    def is_ignored(self, name: str, config: Mapping[str, Any]) -> bool:
        tied_head = name == "lm_head.weight" and bool(config["tie_word_embeddings"])
        return tied_head or name.endswith(".rotary_emb.inv_freq")

    def gguf_plan(self, name: str, config: Mapping[str, Any]) -> GgufPlan | None:
        if name in _GGUF_TOP:
            return GgufPlan(_GGUF_TOP[name])
        match = _GGUF_NAME.fullmatch(name)
        if match is None or match[2] not in _GGUF_LAYER:
            return None
        # llama.cpp stores q and k for RoPE on neighbouring pairs; checkpoints rotate the halves.
        rotary_rows = config["head_dim"] if match[2] in ("attn_q", "attn_k") else 0
        return GgufPlan(f"model.layers.{match[1]}.{_GGUF_LAYER[match[2]]}.weight", rotary_rows)


def _rope(raw: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """Theta and scaling, from where either generation of config.json keeps them."""
    scaling = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise Corrupt(f"the model's configuration has a rope_scaling that is {scaling!r}")
    theta = real(
        {"rope_theta": scaling.get("rope_theta", raw.get("rope_theta"))}, "rope_theta", 1e4
    )
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in _ROPE_TYPES:
        known = ", ".join(_ROPE_TYPES)
        raise Unsupported(f"RoPE of type {kind!r} is not supported; supported: {known}")
    return theta, None if kind == "default" else scaling


def _check(config: Mapping[str, Any]) -> None:
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    if heads % kv_heads:
        raise Corrupt(f"{heads} attention heads cannot share {kv_heads} key-value heads")
    if config["head_dim"] % 2:
        raise Corrupt(f"head_dim {config['head_dim']} is odd: RoPE rotates pairs")
    if config["num_hidden_layers"] > _LAYER_LIMIT:
        raise Corrupt(
            f"{config['num_hidden_layers']} layers: no Llama has more than {_LAYER_LIMIT}"
        )


LLAMA = Llama()

"""What decoders have in common: grouped-query attention, rotary positions, gated MLPs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import Shape, TensorGroup, count, flag, real
from control_plane.importer.architectures.rope import context_tokens, read_rope
from control_plane.importer.errors import Corrupt, Unsupported

_LAYER_LIMIT = 1024
_PRODUCTS = tuple(
    f".{name}.weight"
    for name in (
        *(f"self_attn.{each}_proj" for each in "qkvo"),
        *(f"mlp.{each}_proj" for each in ("gate", "up", "down")),
    )
)
"""What the worker makes a `Linear` of; the matrices of experts are none."""
_BY_INPUTS = (".o_proj.weight", ".down_proj.weight", ".w2.weight")
_LAYER_TYPES = ("full_attention", "sliding_attention")


class Decoder:
    """Llama as it is; what differs is overridden."""

    hf_name = "LlamaForCausalLM"
    model_type = "llama"
    activation = ("hidden_act", "silu")
    default_context_tokens = 2048
    default_epsilon = 1e-6
    default_theta = 1e4
    default_head_dim: int | None = None
    default_tied = False
    layer_norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    has_bias = False
    """Whether query, key and value have one."""
    has_head_norms = False

    def config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        if raw.get("quantization_config"):
            raise Unsupported("the checkpoint is quantised: import the original weights instead")
        field, activation = self.activation
        if raw.get(field, activation) != activation:
            raise Unsupported(f"{field} {raw[field]!r} is not supported; supported: {activation}")
        for bias in ("attention_bias", "mlp_bias"):
            if flag(raw, bias, False):
                raise Unsupported(f"{bias} is not supported: only {self.model_type} without it is")
        hidden_size = count(raw, "hidden_size")
        heads = count(raw, "num_attention_heads")
        declared = count(raw, "max_position_embeddings", self.default_context_tokens)
        rope = self.rope(raw)
        config = {
            **{key: value for key, value in raw.items() if key != "auto_map"},
            "architectures": [self.hf_name],
            "model_type": self.model_type,
            field: activation,
            "hidden_size": hidden_size,
            "intermediate_size": count(raw, "intermediate_size"),
            "num_hidden_layers": count(raw, "num_hidden_layers"),
            "num_attention_heads": heads,
            "num_key_value_heads": count(raw, "num_key_value_heads", heads),
            "head_dim": count(raw, "head_dim", self.default_head_dim or hidden_size // heads),
            "vocab_size": count(raw, "vocab_size"),
            "max_position_embeddings": context_tokens(declared, rope.get("rope_scaling")),
            "rms_norm_eps": real(raw, "rms_norm_eps", self.default_epsilon),
            **rope,
            "tie_word_embeddings": flag(raw, "tie_word_embeddings", self.default_tied),
            "attention_bias": False,
            "mlp_bias": False,
            **self.own_config(raw),
        }
        _check(config)
        return config

    def rope(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The checked part of the config that is about positions."""
        theta, scaling = read_rope(raw, self.default_theta)
        return {"rope_theta": theta, "rope_scaling": scaling}

    def own_config(self, raw: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The checked part of the config that other architectures do not have."""
        return {}

    def groups(self, config: Mapping[str, Any]) -> list[TensorGroup]:
        """In the order of a forward pass: embedding, layers, last norm and head."""
        embedding = {"model.embed_tokens.weight": (config["vocab_size"], config["hidden_size"])}
        head: dict[str, Shape] = {"model.norm.weight": (config["hidden_size"],)}
        if not config["tie_word_embeddings"]:
            head["lm_head.weight"] = (config["vocab_size"], config["hidden_size"])
        layers = (
            TensorGroup(
                f"layer.{layer}",
                {
                    f"model.layers.{layer}.{name}": shape
                    for name, shape in self._layer(config, layer).items()
                },
            )
            for layer in range(config["num_hidden_layers"])
        )
        return [TensorGroup("embedding", embedding), *layers, TensorGroup("head", head)]

    def tensors(self, config: Mapping[str, Any]) -> dict[str, Shape]:
        return {
            name: shape for group in self.groups(config) for name, shape in group.shapes.items()
        }

    def aliases(self, config: Mapping[str, Any]) -> dict[str, str]:
        tied = bool(config["tie_word_embeddings"])
        return {"lm_head.weight": "model.embed_tokens.weight"} if tied else {}

    def products(self, config: Mapping[str, Any]) -> frozenset[str]:
        [head] = self.aliases(config).values() or ["lm_head.weight"]
        named = self.tensors(config)
        return frozenset({head, *(name for name in named if name.endswith(_PRODUCTS))})

    def products_by_inputs(self, config: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(name for name in self.tensors(config) if name.endswith(_BY_INPUTS))

    def is_ignored(self, name: str, config: Mapping[str, Any]) -> bool:
        tied_head = name == "lm_head.weight" and bool(config["tie_word_embeddings"])
        return tied_head or name.endswith(".rotary_emb.inv_freq")

    def mlp(self, config: Mapping[str, Any], layer: int) -> dict[str, Shape]:  # noqa: ARG002
        """Name and shape of every tensor of a layer's MLP, by its name within the layer."""
        return gated_mlp("mlp.", config["hidden_size"], config["intermediate_size"])

    def _layer(self, config: Mapping[str, Any], layer: int) -> dict[str, Shape]:
        """In the order of use: a norm, attention, the norms between, the MLP, the norms behind."""
        norms = [f"{name}.weight" for name in self.layer_norms]
        shape = (config["hidden_size"],)
        before, between, behind = (
            norms[:1],
            norms[1 : 1 + len(norms) // 2],
            norms[1 + len(norms) // 2 :],
        )
        return {
            **dict.fromkeys(before, shape),
            **self._attention(config),
            **dict.fromkeys(between, shape),
            **self.mlp(config, layer),
            **dict.fromkeys(behind, shape),
        }

    def _attention(self, config: Mapping[str, Any]) -> dict[str, Shape]:
        """Query, key and value next to each other, as `worker/models` multiplies them: at once."""
        hidden, head = config["hidden_size"], config["head_dim"]
        queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
        widths = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
        tensors: dict[str, Shape] = {
            f"self_attn.{name}.weight": (width, hidden) for name, width in widths.items()
        }
        if self.has_bias:
            tensors |= {f"self_attn.{name}.bias": (width,) for name, width in widths.items()}
        if self.has_head_norms:
            tensors |= {f"self_attn.{name}.weight": (head,) for name in ("q_norm", "k_norm")}
        return {**tensors, "self_attn.o_proj.weight": (hidden, queries)}


def gated_mlp(
    prefix: str,
    hidden: int,
    inner: int,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> dict[str, Shape]:
    """Name and shape of the matrices of one gated MLP."""
    gate, up, down = names
    return {
        f"{prefix}{gate}.weight": (inner, hidden),
        f"{prefix}{up}.weight": (inner, hidden),
        f"{prefix}{down}.weight": (hidden, inner),
    }


def _check(config: Mapping[str, Any]) -> None:
    types, layers = config.get("layer_types"), config["num_hidden_layers"]
    if types is not None and not (isinstance(types, list) and len(types) == layers):
        raise Corrupt(f"layer_types must name each of {layers} layers, it is {types!r}")
    if unknown := [each for each in types or [] if each not in _LAYER_TYPES]:
        known = ", ".join(_LAYER_TYPES)
        raise Unsupported(f"layer type {unknown[0]!r} is not supported; supported: {known}")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    if heads % kv_heads:
        raise Corrupt(f"{heads} attention heads cannot share {kv_heads} key-value heads")
    if config["head_dim"] % 2:
        raise Corrupt(f"head_dim {config['head_dim']} is odd: RoPE rotates pairs")
    if config["num_hidden_layers"] > _LAYER_LIMIT:
        raise Corrupt(
            f"{config['num_hidden_layers']} layers: no model has more than {_LAYER_LIMIT}"
        )

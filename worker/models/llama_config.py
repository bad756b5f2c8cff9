"""The `config.json` of a Llama model, checked."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from worker.models.base import ModelError, ModelShape
from worker.models.layers.rope import KNOWN_TYPES, RopeScaling

# Far above any real model: a lying config must not make us allocate or loop for ever.
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Heads = Annotated[int, msgspec.Meta(ge=1, le=1 << 12)]
Positions = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class LlamaConfig(msgspec.Struct, frozen=True):
    """Hugging Face's names; fields that change nothing for inference are left out."""

    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Layers
    num_attention_heads: Heads
    vocab_size: Count
    num_key_value_heads: Heads | None = None
    head_dim: Heads | None = None
    max_position_embeddings: Positions = 2048
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    rope_parameters: RopeScaling | None = None
    rope_scaling: dict[str, Any] | None = None
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def scaling(self) -> RopeScaling:
        if self.rope_parameters is not None:
            return self.rope_parameters
        older = dict(self.rope_scaling or {})
        older.setdefault("rope_type", older.get("type", "default"))
        return msgspec.convert(older, RopeScaling)

    @property
    def theta(self) -> float:
        return self.scaling.rope_theta or self.rope_theta

    @property
    def shape(self) -> ModelShape:
        return ModelShape(
            layers=self.num_hidden_layers,
            kv_heads=self.kv_heads,
            head_width=self.head_width,
            vocabulary=self.vocab_size,
            max_positions=self.max_position_embeddings,
        )


def read_config(values: dict[str, Any]) -> LlamaConfig:
    """Check a parsed `config.json`.

    Raises:
        ModelError: a field is missing, of the wrong type, or asks for what Llama here cannot do.
    """
    try:
        config = msgspec.convert(values, LlamaConfig)
        scaling = config.scaling
    except msgspec.ValidationError as error:
        raise ModelError(f"config.json: {error}") from error
    if config.num_attention_heads % config.kv_heads:
        raise ModelError(
            f"config.json: num_attention_heads ({config.num_attention_heads}) is no multiple of "
            f"num_key_value_heads ({config.kv_heads})"
        )
    if config.head_dim is None and config.hidden_size % config.num_attention_heads:
        raise ModelError(
            f"config.json: hidden_size ({config.hidden_size}) is no multiple of "
            f"num_attention_heads ({config.num_attention_heads}), and head_dim is not given"
        )
    if config.head_width % 2:
        raise ModelError(f"config.json: head_dim ({config.head_width}) must be even")
    if config.hidden_act not in ("silu", "swish"):
        raise ModelError(
            f"config.json: hidden_act {config.hidden_act!r} is not supported (silu is)"
        )
    if config.attention_bias or config.mlp_bias:
        raise ModelError("config.json: attention_bias and mlp_bias are not supported")
    if scaling.rope_type not in KNOWN_TYPES:
        known = ", ".join(sorted(KNOWN_TYPES))
        raise ModelError(f"config.json: rope_type {scaling.rope_type!r} is not supported ({known})")
    return config

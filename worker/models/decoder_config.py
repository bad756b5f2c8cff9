"""What the `config.json` of every decoder says, checked; an architecture adds its own fields."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from infra.package_tensors import INT8_CONFIG
from worker.models.base import ModelError, ModelShape
from worker.models.layers.attention import AttentionShape
from worker.models.layers.rope import KNOWN_TYPES, RopeScaling

# Far above any real model: a lying config must not make us allocate or loop for ever.
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Heads = Annotated[int, msgspec.Meta(ge=1, le=1 << 12)]
Positions = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class DecoderConfig(msgspec.Struct, frozen=True):
    """Hugging Face's names; fields that change nothing for inference are left out."""

    activations: ClassVar[tuple[str, ...]] = ("silu", "swish")

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
    rope_parameters: dict[str, Any] | None = None
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
    def activation(self) -> str:
        return self.hidden_act

    @property
    def attention(self) -> AttentionShape:
        return AttentionShape(
            self.hidden_size, self.num_attention_heads, self.kv_heads, self.head_width
        )

    @property
    def scaling(self) -> RopeScaling:
        """Raises `msgspec.ValidationError` where a value has the wrong type."""
        return self.read_scaling(self.rope_parameters or self.rope_scaling or {}, self.rope_theta)

    @property
    def shape(self) -> ModelShape:
        return ModelShape(
            layers=self.num_hidden_layers,
            kv_heads=self.kv_heads,
            head_width=self.head_width,
            vocabulary=self.vocab_size,
            max_positions=self.max_position_embeddings,
            row_elements=self._row_elements,
        )

    @property
    def _row_elements(self) -> int:
        """Residual, hidden and normalised states; query, key and value before and after rotation,
        or a gated MLP's two products, as sums of integers too, and what becomes of them."""
        attention = 4 * (self.num_attention_heads + 2 * self.kv_heads) * self.head_width
        return 5 * self.hidden_size + max(attention, 6 * self.intermediate_size)

    def read_scaling(self, values: dict[str, Any], theta: float) -> RopeScaling:
        """Fill in what older configs keep elsewhere: the type's name, theta, the first context."""
        if any(isinstance(value, dict) for value in values.values()):
            raise ModelError("config.json: positions of a kind for each layer are not supported")
        filled = {
            "rope_type": values.get("type", "default"),
            "rope_theta": theta,
            "original_max_position_embeddings": self.max_position_embeddings,
            **{name: value for name, value in values.items() if value is not None},
        }
        if filled["rope_type"] != "default" and "factor" not in filled:
            raise ModelError("config.json: the scaling of rotary positions must say its factor")
        return msgspec.convert(filled, RopeScaling)

    def check(self) -> None:
        """What types alone do not say; an architecture adds to it.

        Raises:
            ModelError: two values contradict each other, or ask for what cannot be run here.
        """
        if self.num_attention_heads % self.kv_heads:
            raise ModelError(
                f"config.json: num_attention_heads ({self.num_attention_heads}) is no multiple of "
                f"num_key_value_heads ({self.kv_heads})"
            )
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ModelError(
                f"config.json: hidden_size ({self.hidden_size}) is no multiple of "
                f"num_attention_heads ({self.num_attention_heads}), and head_dim is not given"
            )
        if self.head_width % 2:
            raise ModelError(f"config.json: head_dim ({self.head_width}) must be even")
        if self.activation not in self.activations:
            raise ModelError(
                f"config.json: activation {self.activation!r} is not supported "
                f"({self.activations[0]} is)"
            )
        if self.attention_bias or self.mlp_bias:
            raise ModelError("config.json: attention_bias and mlp_bias are not supported")
        self.check_rope()

    def check_rope(self) -> None:
        """Raises `ModelError` where the positions are of a kind that is not known here."""
        require_known(self.scaling)


def require_known(scaling: RopeScaling) -> None:
    """Raises `ModelError` where the scaling's type is not known here, or its numbers cannot be."""
    if scaling.rope_type not in KNOWN_TYPES:
        known = ", ".join(sorted(KNOWN_TYPES))
        raise ModelError(f"config.json: rope_type {scaling.rope_type!r} is not supported ({known})")
    if scaling.low_freq_factor >= scaling.high_freq_factor:
        raise ModelError(
            f"config.json: low_freq_factor ({scaling.low_freq_factor}) must be below "
            f"high_freq_factor ({scaling.high_freq_factor})"
        )


Config = TypeVar("Config", bound=DecoderConfig)


def read_config(values: dict[str, Any], kind: type[Config]) -> Config:
    """Check a parsed `config.json`.

    Raises:
        ModelError: a field is missing, of the wrong type, or asks for what cannot be run here.
    """
    quantised = values.get("quantization_config")
    if quantised and quantised != INT8_CONFIG:
        raise ModelError("config.json: quantised checkpoints are not run; import the original one")
    try:
        config = msgspec.convert(values, kind)
        config.check()
    except msgspec.ValidationError as error:
        raise ModelError(f"config.json: {error}") from error
    return config

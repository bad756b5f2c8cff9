"""Gemma 3, text only (Gemma Team, 2025): five local layers for each global one, norms before and
after attention and MLP, normalised heads, GeGLU."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import msgspec
from torch import Tensor

from worker.kernels.swiglu import geglu
from worker.models.base import Model, ModelError, Placement, WeightTarget
from worker.models.decoder import Decoder
from worker.models.decoder_config import (
    DecoderConfig,
    Heads,
    Positions,
    Positive,
    read_config,
    require_known,
)
from worker.models.layer_windows import FULL, SLIDING, layer_windows
from worker.models.layers.attention import Attention, AttentionStep
from worker.models.layers.mlp import GatedMlp
from worker.models.layers.norm import RmsNorm
from worker.models.layers.rope import RopeScaling, RotationTable


class Gemma3Config(DecoderConfig, frozen=True):
    activations: ClassVar[tuple[str, ...]] = ("gelu_pytorch_tanh",)

    hidden_activation: str = "gelu_pytorch_tanh"
    head_dim: Heads | None = 256
    max_position_embeddings: Positions = 131072
    rope_theta: Positive = 1e6
    rope_local_base_freq: Positive = 1e4
    tie_word_embeddings: bool = True
    query_pre_attn_scalar: Positive = 256
    sliding_window: Positions | None = 4096
    sliding_window_pattern: Annotated[int, msgspec.Meta(ge=1)] = 6
    """Every so many layers is global, where layers have no types."""
    layer_types: list[str] | None = None
    final_logit_softcapping: Positive | None = None
    attn_logit_softcapping: float | None = None
    use_bidirectional_attention: bool | None = None

    @property
    def activation(self) -> str:
        return self.hidden_activation

    @property
    def windows(self) -> list[int]:
        """Of each layer; 0 is none."""
        types = self.layer_types or [
            SLIDING if (index + 1) % self.sliding_window_pattern else FULL
            for index in range(self.num_hidden_layers)
        ]
        return layer_windows(types, self.sliding_window, self.num_hidden_layers)

    @property
    def scaling(self) -> RopeScaling:
        """Of global layers. `rope_scaling`, which older configs have, is theirs alone."""
        values = self._positions_of(FULL) or self.rope_scaling or {}
        return self.read_scaling(values, self.rope_theta)

    @property
    def local_scaling(self) -> RopeScaling:
        return self.read_scaling(self._positions_of(SLIDING), self.rope_local_base_freq)

    def check(self) -> None:
        super().check()
        require_known(self.local_scaling)
        if self.attn_logit_softcapping is not None:
            raise ModelError(
                "config.json: attn_logit_softcapping is not supported: "
                "Gemma 3 normalises queries and keys instead"
            )
        if self.use_bidirectional_attention:
            raise ModelError("config.json: use_bidirectional_attention is not supported")

    def _positions_of(self, layer_type: str) -> dict[str, Any]:
        values = (self.rope_parameters or {}).get(layer_type) or {}
        return msgspec.convert(values, dict[str, Any])


class Gemma3Norm(RmsNorm):
    """Its checkpoints hold the weight's distance from 1."""

    def __init__(self, width: int, epsilon: float, placement: Placement) -> None:
        super().__init__(width, epsilon, placement, shift=1.0)


class Gemma3Layer:
    def __init__(self, config: Gemma3Config, window: int, placement: Placement) -> None:
        def norm(width: int) -> Gemma3Norm:
            return Gemma3Norm(width, config.rms_norm_eps, placement)

        width = config.hidden_size
        shape = replace(
            config.attention, window=window, scale=float(config.query_pre_attn_scalar) ** -0.5
        )
        self._input_norm = norm(width)
        self._attention = Attention(
            shape, placement, (norm(shape.head_width), norm(shape.head_width))
        )
        self._mixed_norm = norm(width)
        self._mlp_norm = norm(width)
        self._mlp = GatedMlp(width, config.intermediate_size, placement, geglu)
        self._output_norm = norm(width)

    @property
    def recordable(self) -> bool:
        return self._attention.recordable and self._mlp.recordable

    def tensors(self) -> dict[str, WeightTarget]:
        return {
            "input_layernorm.weight": self._input_norm.weight,
            "post_attention_layernorm.weight": self._mixed_norm.weight,
            "pre_feedforward_layernorm.weight": self._mlp_norm.weight,
            "post_feedforward_layernorm.weight": self._output_norm.weight,
            **{f"self_attn.{name}": view for name, view in self._attention.tensors().items()},
            **{f"mlp.{name}": view for name, view in self._mlp.tensors().items()},
        }

    def __call__(
        self, hidden: Tensor, residual: Tensor | None, step: AttentionStep
    ) -> tuple[Tensor, Tensor]:
        hidden, residual = self._input_norm(hidden, residual)
        hidden, _ = self._mixed_norm(self._attention(hidden, step))
        hidden, residual = self._mlp_norm(hidden, residual)
        hidden, _ = self._output_norm(self._mlp(hidden))
        return hidden, residual


def build_gemma3(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    config = read_config(values, Gemma3Config)
    local, everywhere = (
        RotationTable(config.head_width, placement.max_positions, scaling, placement.device)
        for scaling in (config.local_scaling, config.scaling)
    )
    return Decoder(
        config,
        placement,
        [
            (Gemma3Layer(config, window, placement), local if window else everywhere)
            for window in config.windows
        ],
        Gemma3Norm(config.hidden_size, config.rms_norm_eps, placement),
        embedding_scale=config.hidden_size**0.5,
        soft_cap=config.final_logit_softcapping or 0.0,
    )

"""Llama (Touvron et al., 2023; Llama 2 and 3, SmolLM2): pre-norm, GQA, rotary, SwiGLU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worker.models.base import Model, Placement
from worker.models.decoder import Decoder
from worker.models.decoder_config import DecoderConfig, read_config
from worker.models.layers.attention import Attention
from worker.models.layers.mlp import GatedMlp
from worker.models.layers.norm import RmsNorm
from worker.models.layers.pre_norm import PreNormLayer
from worker.models.layers.rope import RotationTable


def build_llama(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    return assemble(read_config(values, DecoderConfig), placement)


def assemble(
    config: DecoderConfig,
    placement: Placement,
    bias: bool = False,
    windows: list[int] | None = None,
) -> Model:
    """Llama, and what differs from it only in a bias or in windows of attention.

    Args:
        bias: whether query, key and value have one.
        windows: of each layer; 0 is none.
    """
    width, epsilon = config.hidden_size, config.rms_norm_eps
    table = RotationTable(
        config.head_width, placement.max_positions, config.scaling, placement.device
    )
    layers = [
        (
            PreNormLayer(
                width,
                epsilon,
                Attention(replace(config.attention, bias=bias, window=window), placement),
                GatedMlp(width, config.intermediate_size, placement),
                placement,
            ),
            table,
        )
        for window in windows or [0] * config.num_hidden_layers
    ]
    return Decoder(config, placement, layers, RmsNorm(width, epsilon, placement))

"""Mistral (Jiang et al., 2023): Llama with a sliding window of attention in every layer."""

from __future__ import annotations

from typing import Any

from worker.models.base import Model, Placement
from worker.models.decoder_config import DecoderConfig, Positions, read_config
from worker.models.pre_norm import pre_norm_decoder


class MistralConfig(DecoderConfig, frozen=True):
    max_position_embeddings: Positions = 131072
    sliding_window: Positions | None = 4096
    """Left out, it is the first release's; later ones say null."""


def build_mistral(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    config = read_config(values, MistralConfig)
    windows = [config.sliding_window or 0] * config.num_hidden_layers
    return pre_norm_decoder(config, placement, windows=windows)

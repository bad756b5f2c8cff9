"""Qwen2 and Qwen2.5 (Yang et al., 2024): Llama with biases of query, key and value."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from worker.models.base import Model, Placement
from worker.models.decoder_config import DecoderConfig, Positions, read_config
from worker.models.layer_windows import FULL, SLIDING, layer_windows
from worker.models.pre_norm import pre_norm_decoder


class QwenConfig(DecoderConfig, frozen=True):
    max_position_embeddings: Positions = 32768
    use_sliding_window: bool = False
    sliding_window: Positions | None = 4096
    max_window_layers: Annotated[int, msgspec.Meta(ge=0)] = 28
    """The first layer with a window, where layers have no types."""
    layer_types: list[str] | None = None

    @property
    def windows(self) -> list[int]:
        """Of each layer; 0 is none."""
        window = self.sliding_window if self.use_sliding_window else None
        layers = range(self.num_hidden_layers)
        types = self.layer_types or [
            SLIDING if window and index >= self.max_window_layers else FULL for index in layers
        ]
        return layer_windows(types, window, self.num_hidden_layers)


def build_qwen2(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    config = read_config(values, QwenConfig)
    return pre_norm_decoder(config, placement, bias=True, windows=config.windows)

"""Qwen3 (Yang et al., 2025): query and key heads are normalised, nothing has a bias."""

from __future__ import annotations

from typing import Any

from worker.models.base import Model, Placement
from worker.models.decoder_config import Heads, read_config
from worker.models.pre_norm import pre_norm_decoder
from worker.models.qwen2 import QwenConfig


class Qwen3Config(QwenConfig, frozen=True):
    head_dim: Heads | None = 128


def build_qwen3(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    config = read_config(values, Qwen3Config)
    return pre_norm_decoder(config, placement, head_norms=True, windows=config.windows)

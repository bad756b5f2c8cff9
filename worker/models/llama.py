"""Llama (Touvron et al., 2023; Llama 2 and 3, SmolLM2): pre-norm, GQA, rotary, SwiGLU."""

from __future__ import annotations

from typing import Any

from worker.models.base import Model, Placement
from worker.models.decoder_config import DecoderConfig, read_config
from worker.models.pre_norm import pre_norm_decoder


def build_llama(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    return pre_norm_decoder(read_config(values, DecoderConfig), placement)

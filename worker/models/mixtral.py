"""Mixtral (Jiang et al., 2024): Mistral with a mixture of experts in every layer."""

from __future__ import annotations

from typing import Any

from worker.models.base import Model, Placement
from worker.models.decoder_config import Count, DecoderConfig, Positions, Positive, read_config
from worker.models.layers.sparse_mlp import SparseMlp, SparseShape
from worker.models.pre_norm import pre_norm_decoder


class MixtralConfig(DecoderConfig, frozen=True):
    rms_norm_eps: Positive = 1e-5
    rope_theta: Positive = 1e6
    max_position_embeddings: Positions = 131072
    sliding_window: Positions | None = None
    num_local_experts: Count = 8
    num_experts_per_tok: Count = 2


def build_mixtral(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    config = read_config(values, MixtralConfig)
    shape = SparseShape(
        config.hidden_size,
        config.intermediate_size,
        config.num_local_experts,
        config.num_experts_per_tok,
        normalised=True,
        gate="w1",
        up="w3",
        down="w2",
    )
    return pre_norm_decoder(
        config,
        placement,
        windows=[config.sliding_window or 0] * config.num_hidden_layers,
        mlp=lambda _: SparseMlp(shape, placement),
        mlp_name="block_sparse_moe",
    )

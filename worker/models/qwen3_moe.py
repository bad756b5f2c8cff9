"""Qwen3-MoE (Yang et al., 2025): Qwen3 with a mixture of experts in most layers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from worker.models.base import Model, ModelError, Placement
from worker.models.decoder_config import Count, DecoderConfig, Positions, read_config
from worker.models.layers.mlp import GatedMlp
from worker.models.layers.sparse_mlp import SparseMlp, SparseShape
from worker.models.pre_norm import Mlp, pre_norm_decoder


class Qwen3MoeConfig(DecoderConfig, frozen=True):
    max_position_embeddings: Positions = 32768
    use_sliding_window: bool = False
    sliding_window: Positions | None = 4096
    moe_intermediate_size: Count = 768
    num_experts: Count | None = None
    num_local_experts: Count | None = None
    """What newer versions of transformers write instead of `num_experts`."""
    num_experts_per_tok: Count = 8
    norm_topk_prob: bool = False
    decoder_sparse_step: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Every so many layers have experts."""
    mlp_only_layers: list[int] | None = None
    """Layers that have none in any case."""

    @property
    def experts(self) -> int:
        return self.num_experts or self.num_local_experts or 128

    @property
    def window(self) -> int:
        return self.sliding_window or 0 if self.use_sliding_window else 0

    def is_sparse(self, layer: int) -> bool:
        return layer not in (self.mlp_only_layers or ()) and not (
            (layer + 1) % self.decoder_sparse_step
        )

    def check(self) -> None:
        super().check()
        if self.num_local_experts and self.num_local_experts != self.experts:
            raise ModelError(
                f"config.json: num_experts is {self.num_experts}, "
                f"num_local_experts {self.num_local_experts}"
            )


def build_qwen3_moe(values: dict[str, Any], placement: Placement) -> Model:
    """Raises `ModelError` where the config cannot be run."""
    config = read_config(values, Qwen3MoeConfig)
    shape = SparseShape(
        config.hidden_size,
        config.moe_intermediate_size,
        config.experts,
        config.num_experts_per_tok,
        config.norm_topk_prob,
    )

    def mlp(layer: int) -> Mlp:
        if config.is_sparse(layer):
            return SparseMlp(shape, placement)
        return GatedMlp(config.hidden_size, config.intermediate_size, placement)

    windows = [config.window] * config.num_hidden_layers
    return pre_norm_decoder(config, placement, head_norms=True, windows=windows, mlp=mlp)

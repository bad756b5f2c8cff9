"""The usual decoder: in each layer, attention and MLP behind a norm of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from worker.models.base import Placement, WeightTarget
from worker.models.decoder import Decoder
from worker.models.decoder_config import DecoderConfig
from worker.models.layers.attention import Attention, AttentionStep
from worker.models.layers.mlp import GatedMlp
from worker.models.layers.norm import RmsNorm
from worker.models.layers.rope import RotationTable


class Mlp(Protocol):
    @property
    def recordable(self) -> bool:
        """Whether it does nothing on a CPU but to run tasks."""

    def tensors(self) -> dict[str, WeightTarget]:
        """By their names within the layer's MLP."""

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""


class PreNormLayer:
    def __init__(
        self,
        width: int,
        epsilon: float,
        attention: Attention,
        mlp: Mlp,
        placement: Placement,
        mlp_name: str = "mlp",
    ) -> None:
        self._input_norm = RmsNorm(width, epsilon, placement)
        self._attention = attention
        self._mlp_norm = RmsNorm(width, epsilon, placement)
        self._mlp = mlp
        self._mlp_name = mlp_name

    @property
    def recordable(self) -> bool:
        return self._attention.recordable and self._mlp.recordable

    def tensors(self) -> dict[str, WeightTarget]:
        return {
            "input_layernorm.weight": self._input_norm.weight,
            "post_attention_layernorm.weight": self._mlp_norm.weight,
            **{f"self_attn.{name}": view for name, view in self._attention.tensors().items()},
            **{f"{self._mlp_name}.{name}": view for name, view in self._mlp.tensors().items()},
        }

    def __call__(
        self, hidden: Tensor, residual: Tensor | None, step: AttentionStep
    ) -> tuple[Tensor, Tensor]:
        hidden, residual = self._input_norm(hidden, residual)
        hidden = self._attention(hidden, step)
        hidden, residual = self._mlp_norm(hidden, residual)
        return self._mlp(hidden), residual


def pre_norm_decoder(
    config: DecoderConfig,
    placement: Placement,
    *,
    bias: bool = False,
    head_norms: bool = False,
    windows: Sequence[int] = (),
    mlp: Callable[[int], Mlp] | None = None,
    mlp_name: str = "mlp",
) -> Decoder:
    """A decoder of such layers.

    Args:
        bias: whether query, key and value have one.
        head_norms: whether query and key heads are normalised.
        windows: how many positions each layer sees, 0 for all; left out, all see all.
        mlp: makes the MLP of a layer; left out, a gated one.
        mlp_name: what the checkpoint calls it.
    """
    width, epsilon = config.hidden_size, config.rms_norm_eps
    table = RotationTable(
        config.head_width, placement.max_positions, config.scaling, placement.device
    )

    def norm(size: int) -> RmsNorm:
        return RmsNorm(size, epsilon, placement)

    def layer(index: int, window: int) -> PreNormLayer:
        shape = replace(config.attention, bias=bias, window=window)
        norms = (norm(shape.head_width), norm(shape.head_width)) if head_norms else None
        attention = Attention(shape, placement, norms)
        made = mlp(index) if mlp else GatedMlp(width, config.intermediate_size, placement)
        return PreNormLayer(width, epsilon, attention, made, placement, mlp_name)

    seen = windows or [0] * config.num_hidden_layers
    layers = [(layer(index, window), table) for index, window in enumerate(seen)]
    return Decoder(config, placement, layers, norm(width))

"""The usual layer: each of attention and MLP behind a norm of its own (Llama and its heirs)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from worker.models.base import Placement
from worker.models.layers.attention import Attention, AttentionStep
from worker.models.layers.norm import RmsNorm


class Mlp(Protocol):
    def tensors(self) -> dict[str, Tensor]:
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

    def tensors(self) -> dict[str, Tensor]:
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

"""Grouped-query self-attention with rotary positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.kernels.kv_coding import KvScales
from worker.kernels.native.toolchain import multiplies
from worker.kernels.paged_attention import AttentionBatch, paged_attention
from worker.kernels.rope import rotate_and_store
from worker.models.base import Placement, WeightTarget
from worker.models.layers.linear import Linear
from worker.models.layers.norm import RmsNorm


@dataclass(frozen=True, slots=True)
class AttentionShape:
    width: int
    heads: int
    kv_heads: int
    head_width: int
    bias: bool = False
    """Whether query, key and value have one (Qwen2)."""
    window: int = 0
    """How many positions a row sees, its own included; 0 is all of them."""
    scale: float | None = None
    """What multiplies the scores; head width ** -0.5 where None."""


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """What one step gives the attention of one layer, beside the hidden states."""

    rotation: tuple[Tensor, Tensor]
    slots: Tensor
    cache: tuple[Tensor, Tensor]
    batch: AttentionBatch
    scales: KvScales | None = None
    """Of a cache that is coded."""


class Attention:
    """Query, key and value share one product.

    Args:
        norms: of each query and key head before rotation (Henry et al., 2020), if the
            architecture has them.
    """

    def __init__(
        self,
        shape: AttentionShape,
        placement: Placement,
        norms: tuple[RmsNorm, RmsNorm] | None = None,
    ) -> None:
        queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
        self._shape = shape
        self._split = [queries, keys, keys]
        self._exact = placement.exact
        self._dtype = placement.dtype
        self._norms = norms
        self._qkv = Linear(shape.width, self._split, placement, shape.bias)
        self._output = Linear(queries, [shape.width], placement)

    @property
    def recordable(self) -> bool:
        """Whether it does nothing on a CPU but to run tasks."""
        products = self._qkv.recordable and self._output.recordable
        # Else attention is the reference's, which computes at once.
        native = self._shape.head_width % 2 == 0 and multiplies(self._dtype)
        return products and native and self._norms is None

    def tensors(self) -> dict[str, WeightTarget]:
        names = ("q_proj", "k_proj", "v_proj")
        [output] = self._output.weights
        named = {
            f"{name}.weight": part for name, part in zip(names, self._qkv.weights, strict=True)
        }
        named |= {f"{name}.bias": part for name, part in zip(names, self._qkv.biases, strict=False)}
        if self._norms is not None:
            named |= {
                "q_norm.weight": self._norms[0].weight,
                "k_norm.weight": self._norms[1].weight,
            }
        return {**named, "o_proj.weight": output}

    def __call__(self, hidden: Tensor, step: AttentionStep) -> Tensor:
        """[rows, width] -> [rows, width]; writes the rows' keys and values into the cache."""
        rows = hidden.shape[0]
        parts = torch.split(self._qkv(hidden), self._split, dim=-1)
        query, key, value = (part.view(rows, -1, self._shape.head_width) for part in parts)
        if self._norms is not None:
            (query, _), (key, _) = self._norms[0](query), self._norms[1](key)
        query = rotate_and_store(
            query, key, value, step.rotation, step.slots, *step.cache, scales=step.scales
        )
        mixed = paged_attention(
            query,
            *step.cache,
            step.batch,
            self._exact,
            scale=self._shape.scale,
            window=self._shape.window,
            scales=step.scales,
        )
        return self._output(mixed.view(rows, -1))

"""What every architecture offers: named tensors to fill, and a forward pass over paged KV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from worker.engine.base import EngineError
from worker.kernels.kv_coding import KvScales
from worker.kernels.paged_attention import AttentionBatch


class ModelError(EngineError):
    """The model's files and our architectures do not fit together; the message says where."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the engine needs to know of a model to make room for it."""

    layers: int
    kv_heads: int
    head_width: int
    vocabulary: int
    max_positions: int
    row_elements: int = 0
    """Elements that a layer holds for each row of a step at most, its attention aside."""


Quantization = Literal["none", "int8"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model's tensors live."""

    dtype: torch.dtype
    device: torch.device
    max_positions: int
    """The longest sequence that will be run."""
    exact: bool = False
    quantization: Quantization = "none"
    """How the weights of products are kept; all other tensors are of `dtype`."""

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)


@dataclass(frozen=True, slots=True)
class StepInput:
    """One ragged batch of tokens: `rows` of all sequences, one after the other."""

    token_ids: Tensor
    """[rows] int64."""
    positions: Tensor
    """[rows] int64."""
    slots: Tensor
    """[rows] int64: where each row's key and value go in the cache."""
    sampled_rows: Tensor
    """[samples] int64: rows whose logits are wanted."""
    attention: AttentionBatch


class LayerCache(Protocol):
    """The paged KV cache, layer by layer."""

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values, each [kv heads, blocks, block_tokens, head width]."""

    def scales(self, index: int) -> KvScales | None:
        """Of keys and values, each [kv heads, blocks, block_tokens] fp32, where they are coded."""


class WeightTarget(Protocol):
    """What a checkpoint's tensor is copied into: a tensor, or a part of a weight that is kept in
    another form."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def nbytes(self) -> int:
        """Of the form that is kept."""

    def copy_(self, source: Tensor, /) -> object: ...


@runtime_checkable
class Int8Target(WeightTarget, Protocol):
    """One that takes weights that are quantised already, too."""

    def copy_int8(self, values: Tensor, scales: Tensor, /) -> object:
        """int8 [outputs, inputs], and fp32 [outputs, groups of 64 inputs]."""


Gate = Callable[[int], None]
"""Called with the number of a part before the forward pass reads it; may wait for its weights."""


class Model(Protocol):
    shape: ModelShape
    unread: frozenset[str]
    """Tensors that checkpoints may carry though nothing reads them."""
    gate: Gate | None
    """None where all weights are there: then a CPU's layers may run as one program."""

    def tensors(self) -> dict[str, WeightTarget]:
        """Every tensor of the checkpoint by its Hugging Face name, as a place to copy it to."""

    def parts(self) -> list[dict[str, WeightTarget]]:
        """The same, in the steps of a forward pass: embedding, each layer, last norm and head."""

    def forget(self) -> None:
        """Let go of all that is kept between steps, but the weights."""

    def hidden_states(self, step: StepInput, cache: LayerCache) -> Tensor:
        """What the head reads, of the sampled rows: [samples, width]."""

    def head(self, hidden: Tensor) -> Tensor:
        """Logits: [rows, width] -> [rows, vocabulary], fp32."""

    def forward(self, step: StepInput, cache: LayerCache) -> Tensor:
        """Logits of the sampled rows: [samples, vocabulary], fp32."""

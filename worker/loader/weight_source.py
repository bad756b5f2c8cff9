"""What weights are read from: a package as it lands, or plain safetensors files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from infra.safetensors import TensorEntry

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WeightSource(Protocol):
    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        """Every tensor that a model may read, by name, with the shape that it has there."""

    @property
    def quantised(self) -> bool:
        """Whether tensors of products are int8 values with scales."""

    def tensor(self, name: str) -> Tensor:
        """Waits for its bytes; not to be written. Raises LandingFailed where they will not come."""

    def scales(self, name: str) -> Tensor | None:
        """Of an int8 tensor: [outputs, groups of 64 inputs] fp32; None for all others."""

    def fused(self, names: Sequence[str]) -> Tensor | None:
        """These tensors, one below the other, as one view; None where they do not lie so."""

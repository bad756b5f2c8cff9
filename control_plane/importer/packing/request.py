"""What is asked of a package."""

from __future__ import annotations

from typing import Literal

import msgspec

Quantization = Literal["none", "int8"]
Dtype = Literal["bfloat16", "float16", "float32"]

DTYPES: dict[Dtype, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
"""As safetensors headers name them."""


class Packing(msgspec.Struct, frozen=True):
    """What is left out stays as the source has it."""

    quantization: Quantization | None = None
    dtype: Dtype | None = None
    """Of all tensors that are not quantised."""
    slices: int | None = None
    """Into how many parts the matrices that tensor parallelism cuts along their inputs are cut: any
    parallel size that divides it reads whole parts. 1: they are not."""

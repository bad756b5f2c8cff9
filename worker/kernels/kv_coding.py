"""Keys and values of 8 bits: what the cache holds, and what it stands for.

Each head of each token has a scale of its own, in fp32 beside the cache. Scales for a channel of
keys (KIVI) would need the tokens that come later; one scale for a whole cache would need
calibration, and a large token would take precision from the others. So a token's bits follow from
the token alone, in any batch, chunk or block.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MOST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""The largest code of each dtype that keys and values may be coded in."""

KvScales = tuple[Tensor, Tensor]
"""Of keys and values, each [kv heads, blocks, block_tokens] fp32."""


def encode(vectors: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """[..., width] -> codes of the same shape, and scales [...] fp32. The scale of a vector that is
    not finite is not, so that it stays visible."""
    wide, most = vectors.float(), MOST[dtype]
    scales = wide.abs().amax(dim=-1) / most
    inverse = torch.where(scales > 0, 1 / scales, 0)
    small = (wide * inverse[..., None]).nan_to_num(0.0).clamp(-most, most)
    return (small.round() if dtype == torch.int8 else small).to(dtype), scales


def decode(codes: Tensor, scales: Tensor) -> Tensor:
    """Codes [..., width] and scales [...] -> fp32."""
    return codes.float() * scales[..., None]


def as_codes(
    keys: Tensor, values: Tensor, scales: KvScales | None
) -> tuple[Tensor, Tensor, Literal["", "int8", "e4m3"]]:
    """The caches as a kernel reads them, and what it calls their code: empty without scales."""
    if scales is None:
        return keys, values, ""
    if keys.dtype == torch.int8:
        return keys, values, "int8"
    return keys.view(torch.uint8), values.view(torch.uint8), "e4m3"

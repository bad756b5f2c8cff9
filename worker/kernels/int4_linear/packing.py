"""How weights of four bits lie in memory, and how they are made from wide ones.

Along its inputs, a row of weights is cut into groups of 32, 64 or 128; a group has a scale and a
zero point (AWQ, Lin et al., 2023; GPTQ, Frantar et al., 2022). Byte j of a group holds the code of
its weight j in the low four bits and that of weight j + group / 2 in the high ones. So both halves
of a byte meet a run of neighbouring activations, and no code has to change its lane in a kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUPS = (32, 64, 128)
MOST_CODE = 15


def pack_int4(codes: Tensor, group: int) -> Tensor:
    """[outputs, inputs] uint8 codes 0..15 -> [outputs, inputs / 2] uint8.

    Raises:
        ValueError: `group` is none of `GROUPS`, or does not divide the inputs.
    """
    outputs, inputs = codes.shape
    _check_group(inputs, group)
    low, high = codes.view(outputs, -1, 2, group // 2).unbind(dim=2)
    return (low | high << 4).flatten(1)


def unpack_int4(packed: Tensor, group: int) -> Tensor:
    """What `pack_int4` was given."""
    parts = packed.view(packed.shape[0], -1, 1, group // 2)
    return torch.cat([parts & MOST_CODE, parts >> 4], dim=2).flatten(1)


def quantise_int4(weight: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """Round each weight to the nearest of 16 steps between its group's ends (0 always among them).

    Returns:
        Packed codes [outputs, inputs / 2]; scales [outputs, inputs / group] fp32; zero points, the
        codes of 0, [outputs, inputs / group] uint8.

    Raises:
        ValueError: as `pack_int4`.
    """
    _check_group(weight.shape[1], group)
    parts = weight.float().view(weight.shape[0], -1, group)
    least, most = parts.amin(dim=2).clamp(max=0), parts.amax(dim=2).clamp(min=0)
    scales = (most - least) / MOST_CODE
    steps = torch.where(scales > 0, scales, 1.0)
    zeros = (-least / steps).round()
    codes = (parts / steps[..., None] + zeros[..., None]).round().clamp(0, MOST_CODE)
    return pack_int4(codes.flatten(1).to(torch.uint8), group), scales, zeros.to(torch.uint8)


def _check_group(inputs: int, group: int) -> None:
    if group not in GROUPS or inputs % group:
        raise ValueError(f"groups of {group} of {inputs} inputs: use one of {GROUPS} that divides")

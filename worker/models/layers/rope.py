"""The angles of rotary positions: plain, linear, and Llama 3's scaling by wavelength."""

from __future__ import annotations

import math

import msgspec
import torch
from torch import Tensor


class RopeScaling(msgspec.Struct, frozen=True):
    """`rope_parameters` (or the older `rope_scaling`) of a Hugging Face config."""

    rope_type: str = "default"
    rope_theta: float | None = None
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


KNOWN_TYPES = frozenset({"default", "linear", "llama3"})


def rotation_table(
    head_width: int, positions: int, theta: float, scaling: RopeScaling, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [positions, head width / 2] fp32."""
    if device.type == "meta":
        # Arithmetic on meta tensors makes torch import half of its compiler: seconds of a start.
        empty = torch.empty(positions, head_width // 2, device=device)
        return empty, empty
    exponents = torch.arange(0, head_width, 2, dtype=torch.int64, device=device).float()
    frequencies = 1.0 / theta ** (exponents / head_width)
    if scaling.rope_type == "linear":
        frequencies = frequencies / scaling.factor
    elif scaling.rope_type == "llama3":
        frequencies = _scale_by_wavelength(frequencies, scaling)
    angles = torch.outer(torch.arange(positions, device=device).float(), frequencies)
    return angles.cos(), angles.sin()


def _scale_by_wavelength(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1: long waves are stretched by `factor`, short ones kept, the rest blended."""
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_max_position_embeddings / wavelengths
    spread = scaling.high_freq_factor - scaling.low_freq_factor
    keep = ((turns - scaling.low_freq_factor) / spread).clamp(0, 1)
    return (1 - keep) * frequencies / scaling.factor + keep * frequencies

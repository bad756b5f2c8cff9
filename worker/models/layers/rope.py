"""The angles of rotary positions: plain, linear, Llama 3's scaling by wavelength, and YaRN."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import torch
from torch import Tensor

Positive = Annotated[float, msgspec.Meta(gt=0)]


class RopeScaling(msgspec.Struct, frozen=True):
    """`rope_parameters` (or the older `rope_scaling`) of a Hugging Face config."""

    rope_theta: Annotated[float, msgspec.Meta(gt=1)]
    original_max_position_embeddings: Annotated[int, msgspec.Meta(ge=1)]
    rope_type: str = "default"
    factor: Positive = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    attention_factor: Positive | None = None
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    partial_rotary_factor: Annotated[float, msgspec.Meta(ge=1, le=1)] = 1.0
    """Heads are rotated whole."""

    @property
    def amplitude(self) -> float:
        """What multiplies cosines and sines: YaRN's temperature, split over query and key."""
        if self.rope_type != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._temperature(self.mscale) / self._temperature(self.mscale_all_dim)
        return self._temperature(1.0)

    def _temperature(self, scale: float) -> float:
        return 0.1 * scale * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0


KNOWN_TYPES = frozenset({"default", "linear", "llama3", "yarn"})


class RotationTable:
    """Cosines and sines of every position, for layers that share a scaling."""

    def __init__(
        self, head_width: int, positions: int, scaling: RopeScaling, device: torch.device
    ) -> None:
        if device.type == "meta":
            # Arithmetic on meta tensors makes torch import half of its compiler: seconds of a
            # start.
            self._cosines = self._sines = torch.empty(positions, head_width // 2, device=device)
            return
        frequencies = _frequencies(head_width, scaling, device)
        angles = torch.outer(torch.arange(positions, device=device).float(), frequencies)
        self._cosines = angles.cos() * scaling.amplitude
        self._sines = angles.sin() * scaling.amplitude

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """[rows] int64 -> cosines and sines, each [rows, head width / 2] fp32."""
        return self._cosines[positions], self._sines[positions]


def _frequencies(head_width: int, scaling: RopeScaling, device: torch.device) -> Tensor:
    """[head width / 2] fp32, radians a position."""
    exponents = torch.arange(0, head_width, 2, dtype=torch.int64, device=device).float()
    frequencies = 1.0 / scaling.rope_theta ** (exponents / head_width)
    match scaling.rope_type:
        case "linear":
            return frequencies / scaling.factor
        case "llama3":
            return _blend(frequencies, scaling, _kept_by_wavelength(frequencies, scaling))
        case "yarn":
            return _blend(frequencies, scaling, _kept_by_turns(head_width, scaling, device))
    return frequencies


def _blend(frequencies: Tensor, scaling: RopeScaling, kept: Tensor) -> Tensor:
    """Slow down by `factor` what is not kept."""
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def _kept_by_wavelength(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1: long waves are stretched by `factor`, short ones kept, the rest blended."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    spread = scaling.high_freq_factor - scaling.low_freq_factor
    return ((turns - scaling.low_freq_factor) / spread).clamp(0, 1)


def _kept_by_turns(head_width: int, scaling: RopeScaling, device: torch.device) -> Tensor:
    """YaRN (Peng et al., 2023): a ramp over dimensions, between the one that turns `beta_fast`
    times within the original context and the one that turns `beta_slow` times."""
    first = _dimension_of(scaling.beta_fast, head_width, scaling)
    last = _dimension_of(scaling.beta_slow, head_width, scaling)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_width - 1)
    width = last - first or 0.001
    ramp = (torch.arange(head_width // 2, device=device).float() - first) / width
    return 1 - ramp.clamp(0, 1)


def _dimension_of(turns: float, head_width: int, scaling: RopeScaling) -> float:
    """The pair of dimensions that turns so often within the original context."""
    wavelength = scaling.original_max_position_embeddings / (turns * 2 * math.pi)
    return head_width * math.log(wavelength) / (2 * math.log(scaling.rope_theta))

"""A matrix product that owns its weight, and how that is kept: as the checkpoint has it, in int8,
or in the panels that CPU kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worker.kernels.int8_linear import dequantised, int8_linear, quantise_rows
from worker.kernels.linear import linear
from worker.kernels.native.toolchain import multiplies
from worker.models.base import Placement, WeightTarget


class Weight(Protocol):
    """[outputs, inputs], however it is laid out."""

    shape: tuple[int, int]

    @property
    def recordable(self) -> bool:
        """Whether a product on a CPU is nothing but tasks, which a program can record."""

    @property
    def nbytes(self) -> int: ...

    @property
    def held(self) -> list[Tensor]:
        """All that its memory is."""

    def fill(self, first: int, weight: Tensor) -> None:
        """Write outputs `first ..` from a dense tensor of any float dtype."""

    def fill_int8(self, first: int, values: Tensor, scales: Tensor) -> None:
        """The same from int8 [outputs, inputs] and fp32 scales [outputs, groups of 64 inputs]."""

    def rows(self, numbers: Tensor) -> Tensor:
        """[rows] int64 -> what these outputs are made with, [rows, inputs], of a float dtype."""

    def product(self, hidden: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """hidden x weightᵀ + bias, [rows, outputs] of `dtype`."""


class DenseWeight:
    recordable = False

    def __init__(self, outputs: int, inputs: int, placement: Placement) -> None:
        self.shape = (outputs, inputs)
        self._values = placement.empty(outputs, inputs)
        self._exact = placement.exact

    @property
    def nbytes(self) -> int:
        return self._values.nbytes

    @property
    def held(self) -> list[Tensor]:
        return [self._values]

    def fill(self, first: int, weight: Tensor) -> None:
        self._values[first : first + len(weight)].copy_(weight)

    def fill_int8(self, first: int, values: Tensor, scales: Tensor) -> None:
        self.fill(first, dequantised(values, scales))

    def adopt(self, values: Tensor) -> bool:
        """Become a view of these weights, if they are what would be copied: bit by bit, on the
        same device. Nobody may change them any more."""
        fits = values.dtype == self._values.dtype and values.device == self._values.device
        if fits and values.shape == self._values.shape and values.is_contiguous():
            self._values = values
            return True
        return False

    def rows(self, numbers: Tensor) -> Tensor:
        return torch.nn.functional.embedding(numbers, self._values)

    def product(self, hidden: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        product = linear(hidden, self._values, self._exact)
        return (product if bias is None else product + bias).to(dtype)


class Int8Weight:
    """Quantised as it arrives: the weights in the checkpoint's dtype are never held together."""

    recordable = False

    def __init__(self, outputs: int, inputs: int, placement: Placement) -> None:
        self.shape = (outputs, inputs)
        self._values = torch.empty(outputs, inputs, dtype=torch.int8, device=placement.device)
        self._scales = torch.empty(outputs, device=placement.device)

    @property
    def nbytes(self) -> int:
        return self._values.nbytes + self._scales.nbytes

    @property
    def held(self) -> list[Tensor]:
        return [self._values, self._scales]

    def fill(self, first: int, weight: Tensor) -> None:
        part = slice(first, first + len(weight))
        self._values[part], self._scales[part] = quantise_rows(weight.to(self._scales.device))

    def fill_int8(self, first: int, values: Tensor, scales: Tensor) -> None:
        """Rounded a second time: the kernels of this device take one scale for a whole row."""
        device = self._scales.device
        self.fill(first, dequantised(values.to(device), scales.to(device)))

    def rows(self, numbers: Tensor) -> Tensor:
        return self._values[numbers] * self._scales[numbers, None]

    def product(self, hidden: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        product = int8_linear(hidden, self._values, self._scales)
        return (product if bias is None else product + bias).to(dtype)


@dataclass(frozen=True, slots=True)
class WeightPart:
    """Some outputs of a weight, which a tensor of a checkpoint fills."""

    weight: Weight
    first: int
    outputs: int

    @property
    def shape(self) -> tuple[int, int]:
        return (self.outputs, self.weight.shape[1])

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes * self.outputs // self.weight.shape[0]

    def copy_(self, source: Tensor) -> None:
        self.weight.fill(self.first, source)

    def copy_int8(self, values: Tensor, scales: Tensor) -> None:
        self.weight.fill_int8(self.first, values, scales)


class Linear:
    """y = x Wᵀ + b.

    Args:
        outputs: of each part; parts share one product, and have names of their own in a checkpoint.
    """

    def __init__(
        self, inputs: int, outputs: Sequence[int], placement: Placement, bias: bool = False
    ) -> None:
        self.outputs = tuple(outputs)
        self._weight = _weight(sum(outputs), inputs, placement)
        # fp32, since it is added to sums that are.
        self._bias = torch.empty(sum(outputs), device=placement.device) if bias else None
        self._dtype = placement.dtype

    @property
    def recordable(self) -> bool:
        return self._weight.recordable

    @property
    def weights(self) -> list[WeightTarget]:
        """What fills each part: [outputs, inputs]."""
        firsts = [sum(self.outputs[:part]) for part in range(len(self.outputs))]
        return [
            WeightPart(self._weight, first, count)
            for first, count in zip(firsts, self.outputs, strict=True)
        ]

    @property
    def biases(self) -> list[WeightTarget]:
        """The bias of each part, [outputs]; none where the product has none."""
        return [] if self._bias is None else list(torch.split(self._bias, list(self.outputs)))

    def rows(self, numbers: Tensor) -> Tensor:
        """The weights of these outputs, [rows, inputs]: an embedding that is tied to this head."""
        return self._weight.rows(numbers).to(self._dtype)

    def __call__(self, hidden: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """[rows, inputs] -> [rows, outputs], of the model's dtype where no other is asked for."""
        return self._weight.product(hidden, self._bias, dtype or self._dtype)


def _weight(outputs: int, inputs: int, placement: Placement) -> Weight:
    quantised = placement.quantization == "int8"
    kind = torch.int8 if quantised else placement.dtype
    if placement.device.type == "cpu" and multiplies(kind):
        from worker.kernels.native.panels import PanelWeight

        return PanelWeight(outputs, inputs, kind)
    return (Int8Weight if quantised else DenseWeight)(outputs, inputs, placement)

"""A weight matrix in panels, and its product on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.int8_linear.reference import quantise_rows
from worker.kernels.native.products import ZERO_POINT, product_task, quantise_task
from worker.kernels.native.tile import PANEL

_GROUP_BYTES = 4
_CHUNKS = 8
"""Of a product: enough to share a slow core's part, few enough to read memory in long runs."""
_ROWS_ALONE = 8
"""So few rows each thread quantises for itself: that is faster than another task."""
_FILL_ROWS = 4096
"""Weights are converted in parts, so that a large one needs no second copy of itself."""


class PanelWeight:
    """[outputs, inputs] of int8 with a scale for each output, of bfloat16 or of float."""

    def __init__(self, outputs: int, inputs: int, dtype: torch.dtype) -> None:
        self.shape = (outputs, inputs)
        self.dtype = dtype
        self._group = _GROUP_BYTES // dtype.itemsize
        self._panels, self._steps = -(-outputs // PANEL), -(-inputs // self._group)
        # Padding stays zero: it is multiplied, and adds nothing.
        size = (self._panels, self._steps, PANEL, self._group)
        self._values = torch.zeros(size, dtype=dtype)
        self._scales = torch.zeros(self._panels * PANEL)
        self._shifts = torch.zeros(self._panels * PANEL, dtype=torch.int32)

    @property
    def nbytes(self) -> int:
        scales = self._scales.nbytes + self._shifts.nbytes
        return self._values.nbytes + (scales if self.dtype == torch.int8 else 0)

    def fill(self, first: int, weight: Tensor) -> None:
        """Write outputs `first ..` from a dense [outputs, inputs] of any float dtype."""
        for start in range(0, len(weight), _FILL_ROWS):
            self._fill(first + start, weight[start : start + _FILL_ROWS])

    def rows(self, numbers: Tensor) -> Tensor:
        """[rows] int64 -> the weights of these outputs, [rows, inputs], dequantised to fp32 where
        they are int8."""
        values = self._values[numbers // PANEL, :, numbers % PANEL].flatten(1)
        values = values[:, : self.shape[1]]
        return values * self._scales[numbers, None] if self.dtype == torch.int8 else values

    def product(self, hidden: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """hidden x weightᵀ + bias, [rows, outputs] of `dtype` (bfloat16 or float)."""
        rows = hidden.shape[0]
        output = torch.empty(rows, self.shape[0], dtype=dtype)
        if not rows:
            return output
        source, scales = self._source(hidden.contiguous())
        share = max(1, -(-self._panels // _CHUNKS))
        values = [rows, source.data_ptr(), self._steps * _GROUP_BYTES, self._panels, share]
        values += [self._values.data_ptr(), self._steps, output.data_ptr(), self.shape[0]]
        values += [dtype == torch.bfloat16, 0 if bias is None else bias.data_ptr()]
        if self.dtype == torch.int8:
            values += [0 if scales is None else scales.data_ptr(), self._scales.data_ptr()]
            values += [self._shifts.data_ptr(), self.shape[1], source.dtype == torch.bfloat16]
        product_task(self.dtype).run(-(-self._panels // share), *values)
        return output

    def _fill(self, first: int, weight: Tensor) -> None:
        numbers = torch.arange(first, first + len(weight))
        if self.dtype == torch.int8:
            values, self._scales[numbers] = quantise_rows(weight)
            self._shifts[numbers] = ZERO_POINT * values.sum(dim=-1, dtype=torch.int32)
        else:
            values = weight.to(self.dtype)
        padded = torch.zeros(len(weight), self._steps * self._group, dtype=self.dtype)
        padded[:, : self.shape[1]] = values
        groups = padded.view(-1, self._steps, self._group)
        self._values[numbers // PANEL, :, numbers % PANEL] = groups

    def _source(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is multiplied, and the rows' scales where it is quantised already."""
        rows, inputs = hidden.shape
        if self.dtype != torch.int8:
            padding = self._steps * self._group - inputs
            return torch.nn.functional.pad(hidden, (0, padding)) if padding else hidden, None
        if rows <= _ROWS_ALONE:
            return hidden, None
        stride = self._steps * _GROUP_BYTES
        source, scales = torch.empty(rows, stride, dtype=torch.uint8), torch.empty(rows)
        quantise_task().run(
            -(-rows // _ROWS_ALONE),
            *(hidden.data_ptr(), inputs, hidden.dtype == torch.bfloat16, rows, _ROWS_ALONE),
            *(source.data_ptr(), stride, scales.data_ptr()),
        )
        return source, scales

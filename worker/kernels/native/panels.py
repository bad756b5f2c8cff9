"""A weight matrix in panels, and its product on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.kernels.int8_linear.reference import dequantised
from worker.kernels.native.byte_tile import GROUP, GROUP_BYTES, ZERO_POINT
from worker.kernels.native.packing import BYTE, FLOAT, HALF, block_count, packing_task
from worker.kernels.native.products import product_task
from worker.kernels.native.quantise import quantise_task
from worker.kernels.native.team import contiguous, empty
from worker.kernels.native.tile import PANEL

_STEP_BYTES = 4
_CHUNKS = 8
"""Of a product: enough to share a slow core's part, few enough to read memory in long runs."""
_ROWS_ALONE = 8
"""So few rows each thread quantises for itself: that is faster than another task."""
_KINDS = {torch.float32: FLOAT, torch.bfloat16: HALF, torch.int8: BYTE}


class PanelWeight:
    """[outputs, inputs] of int8 with a scale for each group of inputs, of bfloat16 or of float."""

    def __init__(self, outputs: int, inputs: int, dtype: torch.dtype) -> None:
        self.shape = (outputs, inputs)
        self.dtype = dtype
        self._group = _STEP_BYTES // dtype.itemsize
        self._int8 = dtype == torch.int8
        multiple = GROUP if self._int8 else self._group
        self._panels = -(-outputs // PANEL)
        self._steps = -(-inputs // multiple) * multiple // self._group
        self._values = torch.empty(
            (self._panels, self._steps, PANEL, self._group),
            dtype=torch.uint8 if self._int8 else dtype,
        )
        # Outputs that nobody fills are multiplied, and add nothing; inputs are padded with rows.
        self._values[-1].fill_(ZERO_POINT if self._int8 else 0)
        self._groups = self._steps * self._group // GROUP if self._int8 else 0
        self._scales = torch.zeros(self._panels, self._groups, PANEL)

    @property
    def nbytes(self) -> int:
        return self._values.nbytes + self._scales.nbytes

    @property
    def held(self) -> list[Tensor]:
        return [self._values, self._scales]

    @property
    def recordable(self) -> bool:
        """Whether a product is nothing but tasks: rows need no padding."""
        return self._int8 or self.shape[1] % self._group == 0

    def fill(self, first: int, weight: Tensor) -> None:
        """Write outputs `first ..` from a dense [outputs, inputs] of any float dtype."""
        known = weight.dtype in (torch.float32, torch.bfloat16)
        self._pack(first, (weight if known else weight.float()).contiguous())

    def fill_int8(self, first: int, values: Tensor, scales: Tensor) -> None:
        """Write outputs `first ..` from int8 [outputs, inputs] and fp32 [outputs, groups]."""
        if self._int8:
            self._pack(first, values.contiguous(), scales.contiguous())
        else:
            self.fill(first, dequantised(values, scales))

    def rows(self, numbers: Tensor) -> Tensor:
        """[rows] int64 -> the weights of these outputs, [rows, inputs], dequantised to fp32 where
        they are int8."""
        values = self._values[numbers // PANEL, :, numbers % PANEL].flatten(1)
        values = values[:, : self.shape[1]]
        if not self._int8:
            return values
        scales = self._scales[numbers // PANEL, :, numbers % PANEL].repeat_interleave(GROUP, dim=1)
        return (values.float() - ZERO_POINT) * scales[:, : self.shape[1]]

    def product(self, hidden: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """hidden x weightᵀ + bias, [rows, outputs] of `dtype` (bfloat16 or float)."""
        rows = hidden.shape[0]
        output = empty((rows, self.shape[0]), dtype)
        if not rows:
            return output
        source, stride = self._source(contiguous(hidden))
        share = max(1, -(-self._panels // _CHUNKS))
        values = [rows, source.data_ptr(), stride, self._panels, share]
        values += [self._values.data_ptr(), self._steps, output.data_ptr(), self.shape[0]]
        values += [dtype == torch.bfloat16, 0 if bias is None else bias.data_ptr()]
        if self._int8:
            values += [self._scales.data_ptr(), source.dtype == torch.uint8]
            values += [self.shape[1], source.dtype == torch.bfloat16]
        product_task(self.dtype).run(-(-self._panels // share), *values)
        return output

    def _pack(self, first: int, rows: Tensor, scales: Tensor | None = None) -> None:
        packing_task().run(
            block_count(first, len(rows)),
            *(rows.data_ptr(), _KINDS[rows.dtype], self.shape[1], len(rows), first),
            *(self._values.data_ptr(), _KINDS[self.dtype], self._steps),
            *(self._scales.data_ptr(), self._groups),
            0 if scales is None else scales.data_ptr(),
        )

    def _source(self, hidden: Tensor) -> tuple[Tensor, int]:
        """What is multiplied (bytes: it is quantised already), and the bytes between its rows."""
        rows, inputs = hidden.shape
        stride = self._steps * _STEP_BYTES
        if not self._int8:
            padding = self._steps * self._group - inputs
            return torch.nn.functional.pad(hidden, (0, padding)) if padding else hidden, stride
        if rows <= _ROWS_ALONE:
            return hidden, 0
        stride = stride // GROUP * GROUP_BYTES
        source = empty((rows, stride), torch.uint8)
        quantise_task().run(
            -(-rows // _ROWS_ALONE),
            *(hidden.data_ptr(), inputs, hidden.dtype == torch.bfloat16, rows, _ROWS_ALONE),
            *(source.data_ptr(), stride),
        )
        return source, stride

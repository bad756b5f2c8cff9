"""RMSNorm fused with the residual addition, a row at a time."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numba import carray
from torch import Tensor

from worker.kernels.native.compiled import compiled, compiled_fast
from worker.kernels.native.memory import as_double, read_row, rounded, write_row
from worker.kernels.native.team import Task, contiguous, empty, float_bits, take
from worker.kernels.rms_norm import reference

_CHUNK_ELEMENTS = 8192


def rms_norm(
    hidden: Tensor,
    weight: Tensor,
    epsilon: float,
    residual: Tensor | None = None,
    shift: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """See the reference."""
    if hidden.dtype not in (torch.bfloat16, torch.float32) or weight.dtype != hidden.dtype:
        return reference.rms_norm(hidden, weight, epsilon, residual, shift)
    hidden = contiguous(hidden)
    width = weight.shape[0]
    rows = hidden.numel() // width
    output = empty(hidden.shape, hidden.dtype)
    total = hidden if residual is None else empty(hidden.shape, hidden.dtype)
    added = None if residual is None else contiguous(residual)
    share = max(1, _CHUNK_ELEMENTS // width)
    _task().run(
        -(-rows // share),
        *(rows, share, width, hidden.dtype == torch.bfloat16),
        *(hidden.data_ptr(), 0 if added is None else added.data_ptr(), weight.data_ptr()),
        *(output.data_ptr(), total.data_ptr(), float_bits(epsilon), float_bits(shift)),
    )
    return output, total


@cache
def _task() -> Task:
    return Task(_norm_rows)


def _norm_rows(values):
    task = carray(values, 13)
    rows, share, width, narrow = task[2], task[3], task[4], task[5] != 0
    row_bytes = width * (2 if narrow else 4)
    row, other = np.empty(width, np.float32), np.empty(width, np.float32)
    weight = np.empty(width, np.float32)
    read_row(task[8], width, narrow, weight)
    epsilon, shift = np.float32(as_double(task[11])), np.float32(as_double(task[12]))
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for number in range(chunk * share, min(rows, (chunk + 1) * share)):
            place = number * row_bytes
            read_row(task[6] + place, width, narrow, row)
            if task[7]:
                read_row(task[7] + place, width, narrow, other)
                _add(row, other, narrow)
                write_row(task[10] + place, width, narrow, row)
            scale = np.float32(1) / np.sqrt(_squares(row) / np.float32(width) + epsilon)
            if shift != 0:
                for i in range(width):
                    row[i] = row[i] * scale * (weight[i] + shift)
            else:
                for i in range(width):
                    row[i] = rounded(row[i] * scale, narrow) * weight[i]
            write_row(task[9] + place, width, narrow, row)


@compiled
def _add(row, other, narrow):
    for i in range(len(row)):
        row[i] = rounded(row[i] + other[i], narrow)


@compiled_fast
def _squares(row):
    total = np.float32(0)
    for i in range(len(row)):
        total += row[i] * row[i]
    return total

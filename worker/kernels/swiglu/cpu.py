"""Gated activations, a row at a time."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numba import carray
from torch import Tensor

from worker.kernels.native.compiled import compiled_fast
from worker.kernels.native.exponential import exponential
from worker.kernels.native.memory import read_row, write_row
from worker.kernels.native.team import Task, contiguous, empty, take
from worker.kernels.swiglu import reference

_CHUNK_ELEMENTS = 4096
_SPREAD, _CUBE = np.float32((2 / np.pi) ** 0.5), np.float32(0.044715)


def swiglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:
    """See the reference; each row is exact in any case."""
    if gate_and_up.dtype not in (torch.bfloat16, torch.float32):
        return reference.swiglu(gate_and_up, exact)
    return _gated(gate_and_up, by_tanh=False)


def geglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:
    """See the reference; each row is exact in any case."""
    if gate_and_up.dtype not in (torch.bfloat16, torch.float32):
        return reference.geglu(gate_and_up, exact)
    return _gated(gate_and_up, by_tanh=True)


def _gated(gate_and_up: Tensor, by_tanh: bool) -> Tensor:
    source = contiguous(gate_and_up)
    rows, width = source.shape[0], source.shape[1] // 2
    output = empty((rows, width), source.dtype)
    share = max(1, _CHUNK_ELEMENTS // max(1, width))
    narrow = source.dtype == torch.bfloat16
    _task().run(
        -(-rows // share),
        *(rows, share, width, narrow, by_tanh, source.data_ptr(), output.data_ptr()),
    )
    return output


@cache
def _task() -> Task:
    return Task(_gate_rows)


def _gate_rows(values):
    task = carray(values, 9)
    rows, share, width, narrow = task[2], task[3], task[4], task[5] != 0
    size = 2 if narrow else 4
    gate, up = np.empty(width, np.float32), np.empty(width, np.float32)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for number in range(chunk * share, min(rows, (chunk + 1) * share)):
            source = task[7] + number * 2 * width * size
            read_row(source, width, narrow, gate)
            read_row(source + width * size, width, narrow, up)
            if task[6]:
                _gelu(gate, up)
            else:
                _silu(gate, up)
            write_row(task[8] + number * width * size, width, narrow, gate)


@compiled_fast
def _silu(gate, up):
    for i in range(len(gate)):
        gate[i] = gate[i] / (np.float32(1) + exponential(-gate[i])) * up[i]


@compiled_fast
def _gelu(gate, up):
    """(1 + tanh(u)) / 2 is 1 / (1 + e^-2u)."""
    for i in range(len(gate)):
        x = gate[i]
        inner = _SPREAD * (x + _CUBE * x * x * x)
        gate[i] = x / (np.float32(1) + exponential(np.float32(-2) * inner)) * up[i]

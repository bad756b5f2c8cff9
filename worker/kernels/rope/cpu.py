"""Rotary positions and the write into the KV cache, a row at a time."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numba import carray
from torch import Tensor

from worker.kernels.kv_coding import KvScales
from worker.kernels.native.compiled import compiled
from worker.kernels.native.memory import floats, longs, read_row, write_row
from worker.kernels.native.team import Task, contiguous, empty, take
from worker.kernels.rope import reference

_CHUNK_ELEMENTS = 4096
_KINDS = (torch.bfloat16, torch.float32)


def rotate_and_store(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rotation: tuple[Tensor, Tensor],
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    scales: KvScales | None = None,
) -> Tensor:
    """See the reference."""
    if scales is not None or not {query.dtype, key_cache.dtype} <= set(_KINDS):
        return reference.rotate_and_store(
            query, key, value, rotation, slots, key_cache, value_cache, scales
        )
    rows, heads, width = query.shape
    query, key, value = (_with_whole_rows(each) for each in (query, key, value))
    cosines, sines = (contiguous(table) for table in rotation)
    output = empty((rows, heads, width), query.dtype)
    share = max(1, _CHUNK_ELEMENTS // (heads * width))
    _task().run(
        -(-rows // share),
        *(rows, share, heads, key.shape[1], width),
        *(query.dtype == torch.bfloat16, key_cache.dtype == torch.bfloat16),
        *(query.data_ptr(), query.stride(0), key.data_ptr(), key.stride(0)),
        *(value.data_ptr(), value.stride(0), cosines.data_ptr(), sines.data_ptr()),
        *(slots.data_ptr(), output.data_ptr(), key_cache.data_ptr(), value_cache.data_ptr()),
        *(key_cache.stride(0), value_cache.stride(0)),
    )
    return output


def _with_whole_rows(heads: Tensor) -> Tensor:
    """A row's heads lie one after the other; rows may be apart."""
    whole = heads.stride(-1) == 1 and heads.stride(1) == heads.shape[-1]
    return heads if whole else contiguous(heads)


@cache
def _task() -> Task:
    return Task(_rotate_rows)


def _rotate_rows(values):
    task = carray(values, 23)
    rows, share, heads, kv_heads, width = task[2], task[3], task[4], task[5], task[6]
    narrow, narrow_cache = task[7] != 0, task[8] != 0
    size, cache_size = 2 if narrow else 4, 2 if narrow_cache else 4
    head, half = np.empty(width, np.float32), width // 2
    slots = longs(task[17], rows)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for row in range(chunk * share, min(rows, (chunk + 1) * share)):
            cosines = floats(task[15] + row * half * 4, half)
            sines = floats(task[16] + row * half * 4, half)
            for number in range(heads):
                place = task[9] + (row * task[10] + number * width) * size
                read_row(place, width, narrow, head)
                _turn(head, cosines, sines)
                target = task[18] + (row * heads + number) * width * size
                write_row(target, width, narrow, head)
            for number in range(kv_heads):
                place = task[11] + (row * task[12] + number * width) * size
                read_row(place, width, narrow, head)
                _turn(head, cosines, sines)
                target = task[19] + (number * task[21] + slots[row] * width) * cache_size
                write_row(target, width, narrow_cache, head)
                place = task[13] + (row * task[14] + number * width) * size
                read_row(place, width, narrow, head)
                target = task[20] + (number * task[22] + slots[row] * width) * cache_size
                write_row(target, width, narrow_cache, head)


@compiled
def _turn(head, cosines, sines):
    half = len(cosines)
    for i in range(half):
        first, second = head[i], head[half + i]
        head[i] = first * cosines[i] - second * sines[i]
        head[half + i] = second * cosines[i] + first * sines[i]

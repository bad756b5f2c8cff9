"""Rows to int8, as products with int8 weights read them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import carray as numbers

from worker.kernels.native.byte_tile import GROUP, GROUP_BYTES, ZERO_POINT
from worker.kernels.native.compiled import compiled, compiled_fast
from worker.kernels.native.memory import as_float, floats, integers, read_row, signed_octets
from worker.kernels.native.team import Task, take

LARGEST = 127.0


@cache
def quantise_task() -> Task:
    """Rows to int8, as `byte_tile` reads them. Its values: address of the rows, inputs, whether
    they are bfloat16, rows, rows a chunk, address of the result, bytes between its rows."""
    return Task(_quantise)


def _quantise(values):
    task = numbers(values, 9)
    rows, share = task[5], task[6]
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        first = chunk * share
        count = min(rows, first + share) - first
        size = task[3] * (2 if task[4] else 4)
        source, target = task[2] + first * size, task[7] + first * task[8]
        quantise_rows(source, count, task[3], task[4] != 0, target, task[8])


@compiled
def quantise_rows(source, rows, inputs, narrow, target, stride):
    row = np.zeros((inputs + GROUP - 1) // GROUP * GROUP, np.float32)
    for number in range(rows):
        read_row(source + number * inputs * (2 if narrow else 4), inputs, narrow, row)
        for first in range(0, inputs, GROUP):
            place = target + number * stride + first // GROUP * GROUP_BYTES
            _quantise_group(row[first : first + GROUP], place)


@compiled_fast
def _quantise_group(group, place):
    """Write a group's bytes, its scale, and what its sums are shifted by."""
    bits = group.view(np.uint32)
    # As integers: what is not finite is larger than all numbers, and spoils its own row.
    largest = np.uint32(0)
    for i in range(GROUP):
        largest = max(largest, bits[i] & np.uint32(0x7FFFFFFF))
    scale = as_float(largest) / np.float32(LARGEST)
    inverse = np.float32(1) / scale if scale > 0 else np.float32(0)
    target = signed_octets(place, GROUP)
    total = np.int32(0)
    for i in range(GROUP):
        nearest = np.rint(group[i] * inverse)
        bounded = nearest if nearest < np.float32(LARGEST) else np.float32(LARGEST)
        bounded = bounded if bounded > np.float32(-LARGEST) else np.float32(-LARGEST)
        value = np.int32(bounded)
        target[i] = np.int8(value)
        total += value
    floats(place + GROUP, 1)[0] = scale
    integers(place + GROUP + 4, 1)[0] = -ZERO_POINT * total

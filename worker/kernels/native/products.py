"""Matrix products over panels: tasks of a team, one for each kind of weight.

Every sum of an output is a chain of its own, in the order of the inputs, so a row's bits do not
depend on the rows beside it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numba import carray as numbers

from worker.kernels.native.byte_tile import (
    BYTE_TILE_ROWS,
    GROUP,
    GROUP_BYTES,
    ZERO_POINT,
    byte_tiles,
    first_byte_tile,
)
from worker.kernels.native.compiled import compiled, compiled_fast
from worker.kernels.native.memory import (
    as_float,
    floats,
    integers,
    narrowed,
    read_row,
    shorts,
    signed_octets,
)
from worker.kernels.native.team import Task, take
from worker.kernels.native.tile import PANEL, float_tiles, half_tiles

LARGEST = 127.0
_TILE_SUMS = 12 * PANEL
_MOST_BYTE_ROWS = BYTE_TILE_ROWS[0]

_bytes_6, _bytes_4, _bytes_3, _bytes_2, _bytes_1 = byte_tiles.values()
_halves_12, _halves_8, _halves_4, _halves_3, _halves_2, _halves_1 = half_tiles.values()
_floats_12, _floats_8, _floats_4, _floats_3, _floats_2, _floats_1 = float_tiles.values()


@cache
def product_task(dtype: torch.dtype) -> Task:
    """The product with weights of this dtype; compiled at the first call.

    Its values: rows, address of the first row, bytes between rows, panels, panels a chunk, address
    of the weights, steps (inputs in groups of four bytes), address of the output, outputs, whether
    the output is bfloat16, address of a bias (0: none); for int8 also the address of the panels'
    scales, and whether rows are quantised already; if not, the inputs and whether they are
    bfloat16.
    """
    bodies = {
        torch.int8: _bytes_product,
        torch.bfloat16: _halves_product,
        torch.float32: _floats_product,
    }
    return Task(bodies[dtype])


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
        _quantise_rows(source, count, task[3], task[4] != 0, target, task[8])


@compiled
def _quantise_rows(source, rows, inputs, narrow, target, stride):
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


def _bytes_product(values):
    task = numbers(values, 17)
    rows, panels, share = task[2], task[5], task[6]
    groups = task[8] * 4 // GROUP
    source, stride = task[3], groups * GROUP_BYTES
    sums, made = np.empty(_TILE_SUMS, np.float32), np.empty(0, np.uint8)
    if not task[14]:
        # Each thread does all rows: with few of them that is faster than to wait for another.
        made = np.empty(rows * stride, np.uint8)
        _quantise_rows(source, rows, task[15], task[16] != 0, made.ctypes.data, stride)
        source = made.ctypes.data
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for panel in range(chunk * share, min(panels, (chunk + 1) * share)):
            first = panel * PANEL
            weights = task[7] + panel * task[8] * PANEL * 4
            scales = task[13] + first * groups * 4
            row = 0
            while row < rows:
                place, target = source + row * stride, sums.ctypes.data
                if row == 0 and rows > _MOST_BYTE_ROWS:
                    first_byte_tile(place, stride, weights, scales, groups, target)
                    count = _MOST_BYTE_ROWS
                else:
                    left = rows - row
                    count = multiply_bytes(left, place, stride, weights, scales, groups, target)
                _store(sums, count, row, first, task[9], task[10], task[11] != 0, task[12])
                row += count


def _halves_product(values):
    task = numbers(values, 13)
    rows, panels, share = task[2], task[5], task[6]
    sums = np.empty(_TILE_SUMS, np.float32)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for panel in range(chunk * share, min(panels, (chunk + 1) * share)):
            weights = task[7] + panel * task[8] * PANEL * 4
            row = 0
            while row < rows:
                count = multiply_halves(
                    rows - row, task[3] + row * task[4], task[4], weights, task[8], sums.ctypes.data
                )
                first = panel * PANEL
                _store(sums, count, row, first, task[9], task[10], task[11] != 0, task[12])
                row += count


def _floats_product(values):
    task = numbers(values, 13)
    rows, panels, share = task[2], task[5], task[6]
    sums = np.empty(_TILE_SUMS, np.float32)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for panel in range(chunk * share, min(panels, (chunk + 1) * share)):
            weights = task[7] + panel * task[8] * PANEL * 4
            row = 0
            while row < rows:
                count = multiply_floats(
                    rows - row, task[3] + row * task[4], task[4], weights, task[8], sums.ctypes.data
                )
                first = panel * PANEL
                _store(sums, count, row, first, task[9], task[10], task[11] != 0, task[12])
                row += count


@compiled
def multiply_bytes(left, row, stride, panel, scales, groups, sums):
    """One tile, as large as `left` rows allow; returns its rows."""
    if left >= 6:
        _bytes_6(row, stride, panel, scales, groups, sums)
        return 6
    if left >= 4:
        _bytes_4(row, stride, panel, scales, groups, sums)
        return 4
    if left == 3:
        _bytes_3(row, stride, panel, scales, groups, sums)
        return 3
    if left == 2:
        _bytes_2(row, stride, panel, scales, groups, sums)
        return 2
    _bytes_1(row, stride, panel, scales, groups, sums)
    return 1


@compiled
def multiply_halves(left, row, stride, panel, steps, sums):
    if left >= 12:
        _halves_12(row, stride, panel, steps, sums)
        return 12
    if left >= 8:
        _halves_8(row, stride, panel, steps, sums)
        return 8
    if left >= 4:
        _halves_4(row, stride, panel, steps, sums)
        return 4
    if left == 3:
        _halves_3(row, stride, panel, steps, sums)
        return 3
    if left == 2:
        _halves_2(row, stride, panel, steps, sums)
        return 2
    _halves_1(row, stride, panel, steps, sums)
    return 1


@compiled
def multiply_floats(left, row, stride, panel, steps, sums):
    if left >= 12:
        _floats_12(row, stride, panel, steps, sums)
        return 12
    if left >= 8:
        _floats_8(row, stride, panel, steps, sums)
        return 8
    if left >= 4:
        _floats_4(row, stride, panel, steps, sums)
        return 4
    if left == 3:
        _floats_3(row, stride, panel, steps, sums)
        return 3
    if left == 2:
        _floats_2(row, stride, panel, steps, sums)
        return 2
    _floats_1(row, stride, panel, steps, sums)
    return 1


@compiled
def _store(sums, count, row, first, output, outputs, narrow, bias):
    """Write a tile's columns that are outputs, with the bias added."""
    held = min(PANEL, outputs - first)
    if bias:
        added = floats(bias + first * 4, held)
        for each in range(count):
            for i in range(held):
                sums[each * PANEL + i] += added[i]
    for each in range(count):
        place = (row + each) * outputs + first
        if narrow:
            halves = shorts(output + place * 2, held)
            for i in range(held):
                halves[i] = np.uint16(narrowed(sums[each * PANEL + i]))
        else:
            wide = floats(output + place * 4, held)
            for i in range(held):
                wide[i] = sums[each * PANEL + i]

"""Matrix products over panels: tasks of a team, one for each kind of weight.

Every sum of an output is a chain of its own, in the order of the inputs, so a row's bits do not
depend on the rows beside it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numba import carray as numbers

from worker.kernels.native.compiled import compiled
from worker.kernels.native.memory import (
    as_float,
    floats,
    integers,
    narrowed,
    octets,
    read_row,
    shorts,
)
from worker.kernels.native.team import Task, take
from worker.kernels.native.tile import PANEL, byte_tiles, float_tiles, half_tiles

ZERO_POINT = 128
"""The instruction takes unsigned bytes: rows are shifted by this much, and sums shifted back."""
LARGEST = 127.0
_TILE_SUMS = 12 * PANEL

_bytes_12, _bytes_8, _bytes_4, _bytes_3, _bytes_2, _bytes_1 = byte_tiles.values()
_halves_12, _halves_8, _halves_4, _halves_3, _halves_2, _halves_1 = half_tiles.values()
_floats_12, _floats_8, _floats_4, _floats_3, _floats_2, _floats_1 = float_tiles.values()


@cache
def product_task(dtype: torch.dtype) -> Task:
    """The product with weights of this dtype; compiled at the first call.

    Its values: rows, address of the first row, bytes between rows, panels, panels a chunk, address
    of the weights, steps (inputs in groups of four bytes), address of the output, outputs, whether
    the output is bfloat16, address of a bias (0: none); for int8 also the address of the rows'
    scales (0: the rows are not quantised yet, but floats), of the outputs' scales, and of what the
    shift adds to each output, the inputs, and whether unquantised rows are bfloat16.
    """
    bodies = {
        torch.int8: _bytes_product,
        torch.bfloat16: _halves_product,
        torch.float32: _floats_product,
    }
    return Task(bodies[dtype])


@cache
def quantise_task() -> Task:
    """Rows to shifted int8. Its values: address of the rows, inputs, whether they are bfloat16,
    rows, rows a chunk, address of the bytes, bytes between rows, address of the rows' scales."""
    return Task(_quantise)


def _quantise(values):
    task = numbers(values, 10)
    inputs, narrow, rows, share = task[3], task[4] != 0, task[5], task[6]
    scales = floats(task[9], rows)
    row = np.empty(inputs, np.float32)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for number in range(chunk * share, min(rows, (chunk + 1) * share)):
            read_row(task[2] + number * inputs * (2 if narrow else 4), inputs, narrow, row)
            scales[number] = quantise_row(row, octets(task[7] + number * task[8], task[8]))


@compiled
def quantise_row(row, target):
    """Write a row as shifted int8, padded with zeros; returns its scale."""
    bits = row.view(np.uint32)
    # As integers: what is not finite is larger than all numbers, and spoils its own row.
    largest = np.uint32(0)
    for i in range(len(row)):
        largest = max(largest, bits[i] & np.uint32(0x7FFFFFFF))
    scale = as_float(largest) / np.float32(LARGEST)
    inverse = np.float32(1) / scale if scale > 0 else np.float32(0)
    for i in range(len(row)):
        target[i] = _shifted(row[i] * inverse)
    for i in range(len(row), len(target)):
        target[i] = ZERO_POINT
    return scale


@compiled
def _quantised_here(source, rows, inputs, narrow, stride, scales):
    """All rows, for one thread: with few of them that is faster than to wait for another."""
    made = np.empty(rows * stride, np.uint8)
    row = np.empty(inputs, np.float32)
    for number in range(rows):
        read_row(source + number * inputs * (2 if narrow else 4), inputs, narrow, row)
        scales[number] = quantise_row(row, made[number * stride : (number + 1) * stride])
    return made


def _bytes_product(values):
    task = numbers(values, 18)
    rows, panels, share, outputs = task[2], task[5], task[6], task[10]
    sums = np.empty(_TILE_SUMS, np.float32)
    source, stride = task[3], task[8] * 4
    if task[13]:
        scales = floats(task[13], rows)
        made = octets(source, 0)
    else:
        scales = np.empty(rows, np.float32)
        made = _quantised_here(source, rows, task[16], task[17] != 0, stride, scales)
        source = made.ctypes.data
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        for panel in range(chunk * share, min(panels, (chunk + 1) * share)):
            first = panel * PANEL
            weights = task[7] + panel * task[8] * PANEL * 4
            columns = floats(task[14] + first * 4, PANEL)
            shifts = integers(task[15] + first * 4, PANEL)
            row = 0
            while row < rows:
                count = multiply_bytes(
                    rows - row, source + row * stride, stride, weights, task[8], sums.ctypes.data
                )
                whole = sums.view(np.int32)
                for each in range(count):
                    scale = scales[row + each]
                    for i in range(PANEL):
                        at = each * PANEL + i
                        total = np.float32(whole[at] - shifts[i])
                        sums[at] = total * scale * columns[i]
                _store(sums, count, row, first, task[9], outputs, task[11] != 0, task[12])
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
def _shifted(value):
    """Rounded, within -127..127, and shifted; what is not a number becomes anything."""
    nearest = np.rint(value)
    bounded = min(max(nearest, np.float32(-LARGEST)), np.float32(LARGEST))
    return np.uint8(np.int32(bounded) + ZERO_POINT)


@compiled
def multiply_bytes(left, row, stride, panel, steps, sums):
    """One tile, as large as `left` rows allow; returns its rows."""
    if left >= 12:
        _bytes_12(row, stride, panel, steps, sums)
        return 12
    if left >= 8:
        _bytes_8(row, stride, panel, steps, sums)
        return 8
    if left >= 4:
        _bytes_4(row, stride, panel, steps, sums)
        return 4
    if left == 3:
        _bytes_3(row, stride, panel, steps, sums)
        return 3
    if left == 2:
        _bytes_2(row, stride, panel, steps, sums)
        return 2
    _bytes_1(row, stride, panel, steps, sums)
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

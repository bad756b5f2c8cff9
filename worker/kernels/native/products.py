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
    byte_tiles,
    first_byte_tile,
)
from worker.kernels.native.compiled import compiled
from worker.kernels.native.memory import floats, narrowed, shorts
from worker.kernels.native.quantise import quantise_rows
from worker.kernels.native.team import Task, take
from worker.kernels.native.tile import PANEL, float_tiles, half_tiles

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


def _bytes_product(values):
    task = numbers(values, 17)
    rows, panels, share = task[2], task[5], task[6]
    groups = task[8] * 4 // GROUP
    source, stride = task[3], groups * GROUP_BYTES
    sums, made = np.empty(_TILE_SUMS, np.float32), np.empty(0, np.uint8)
    if not task[14]:
        # Each thread does all rows: with few of them that is faster than to wait for another.
        made = np.empty(rows * stride, np.uint8)
        quantise_rows(source, rows, task[15], task[16] != 0, made.ctypes.data, stride)
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

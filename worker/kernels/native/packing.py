"""Puts rows of a dense weight into panels: converted, quantised, or as int8 as they are.

A panel is rows turned: what lies side by side in it is one 32-bit word of each of its outputs (see
`tile`). So sixteen rows at a time are made into words, a stretch of each, and the squares turned in
registers. Who has fewer rows than that, as the end of a part may, moves word by word.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import carray as numbers

from worker.kernels.native.byte_tile import GROUP, ZERO_POINT
from worker.kernels.native.compiled import compiled, compiled_fast
from worker.kernels.native.memory import (
    as_float,
    floats,
    integers,
    read_row,
    signed_octets,
    write_row,
)
from worker.kernels.native.quantise import LARGEST
from worker.kernels.native.team import Task, take
from worker.kernels.native.tile import PANEL
from worker.kernels.native.transpose import SIDE, transpose

FLOAT, HALF, BYTE = 0, 1, 2
"""Kinds of rows: float, bfloat16, int8."""
_STRETCH_WORDS = 256
_STRETCH_BYTES = _STRETCH_WORDS * 4


@cache
def packing_task() -> Task:
    """Rows into panels. Its values: address of the first row, its kind, inputs, rows, the output
    that the first row is, address of the panels, their kind, words (steps) of a panel, and for
    panels of int8 the address of their scales, the groups of a row, and for rows of int8 the
    address of the rows' scales. A chunk is the rows of one block of sixteen outputs."""
    return Task(_pack)


def block_count(first: int, rows: int) -> int:
    """Chunks of a task."""
    return (first + rows - 1) // SIDE - first // SIDE + 1


def _pack(values):
    task = numbers(values, 13)
    inputs, rows, first, steps = task[4], task[5], task[6], task[9]
    words = np.empty((SIDE, _STRETCH_WORDS), np.int32)
    row = np.empty(_STRETCH_BYTES, np.float32)
    size = 4 >> task[3]
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        begin = max(first, (first // SIDE + chunk) * SIDE)
        end = min(first + rows, (first // SIDE + chunk + 1) * SIDE)
        source = task[2] + (begin - first) * inputs * size
        if task[8] == BYTE:
            _pack_scales(task[10], task[11], task[12], task[3] == BYTE, begin, end, first)
        for step in range(0, steps, _STRETCH_WORDS):
            held = min(_STRETCH_WORDS, steps - step)
            done = step * (1 << task[8])
            for number in range(end - begin):
                place = source + (number * inputs + done) * size
                left = min(inputs - done, held * (1 << task[8]))
                target = words[number].ctypes.data
                _convert(place, task[3], left, target, task[8], held, row)
                if task[8] == BYTE and task[3] != BYTE:
                    scales = _scale_place(task[10], task[11], begin + number, done // GROUP)
                    _quantise(row, held * 4, target, scales)
            panel = task[7] + (begin // PANEL * steps + step) * PANEL * 4
            _turn(words, end - begin, held, panel + begin % PANEL * 4)


@compiled
def _convert(place, source, left, target, kind, held, row):
    """One row's next `left` inputs as `held` words of the panels' kind; where that is int8 and the
    row is not, into `row`, which is quantised then."""
    if source == BYTE:
        octets, made = signed_octets(place, left), signed_octets(target, held * 4)
        for i in range(left):
            made[i] = octets[i] ^ np.int8(-ZERO_POINT)
        for i in range(left, held * 4):
            made[i] = np.int8(-ZERO_POINT)
        return
    count = held * (1 << kind)
    read_row(place, left, source == HALF, row)
    for i in range(left, count):
        row[i] = np.float32(0)
    if kind != BYTE:
        write_row(target, count, kind == HALF, row)


@compiled_fast
def _quantise(row, count, target, scales):
    """Whole groups of a row to int8, as `int8_linear.reference.quantise_rows` does."""
    bits = row.view(np.uint32)
    made = signed_octets(target, count)
    for begin in range(0, count, GROUP):
        # As integers: what is not finite is larger than all numbers.
        largest = np.uint32(0)
        for i in range(begin, begin + GROUP):
            largest = max(largest, bits[i] & np.uint32(0x7FFFFFFF))
        scale = as_float(largest) / np.float32(LARGEST)
        inverse = np.float32(1) / scale if scale > 0 else np.float32(0)
        for i in range(begin, begin + GROUP):
            nearest = np.rint(row[i] * inverse)
            bounded = nearest if nearest < np.float32(LARGEST) else np.float32(LARGEST)
            bounded = bounded if bounded > np.float32(-LARGEST) else np.float32(-LARGEST)
            made[i] = np.int8(np.int32(bounded)) ^ np.int8(-ZERO_POINT)
        floats(scales + begin // GROUP * PANEL * 4, 1)[0] = scale


@compiled
def _scale_place(scales, groups, output, group):
    return scales + ((output // PANEL * groups + group) * PANEL + output % PANEL) * 4


@compiled
def _pack_scales(scales, groups, source, given, begin, end, first):
    """The scales of rows that bring them."""
    if not given:
        return
    for output in range(begin, end):
        row = floats(source + (output - first) * groups * 4, groups)
        for group in range(groups):
            floats(_scale_place(scales, groups, output, group), 1)[0] = row[group]


@compiled
def _turn(words, rows, held, panel):
    """Rows of words into the columns that begin at `panel`."""
    turned = held // SIDE * SIDE if rows == SIDE else 0
    for step in range(0, turned, SIDE):
        source = words.ctypes.data + step * 4
        transpose(source, _STRETCH_BYTES, panel + step * PANEL * 4, PANEL * 4)
    for step in range(turned, held):
        column = integers(panel + step * PANEL * 4, rows)
        for number in range(rows):
            column[number] = words[number, step]

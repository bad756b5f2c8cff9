"""The compiled part of attention on a CPU: a tile of rows and a KV head, block of keys by block.

A block's keys are turned so that a vector holds sixteen of them, and its values are laid out as a
panel of weights: both products are then those of `native/tile.py`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numba import carray

from worker.kernels.native.compiled import compiled, compiled_fast
from worker.kernels.native.exponential import exponential
from worker.kernels.native.memory import (
    as_double,
    copy,
    integers,
    narrowed,
    shorts,
    write_row,
)
from worker.kernels.native.products import multiply_floats, multiply_halves
from worker.kernels.native.team import Task, take
from worker.kernels.native.tile import PANEL
from worker.kernels.native.transpose import SIDE, highest_of, pair_halves, transpose

KEYS = PANEL
"""Of a block."""


@cache
def attention_task(dtype: torch.dtype) -> Task:
    """Attention over a cache of this dtype; compiled at the first call."""
    return Task(_attend_halves if dtype == torch.bfloat16 else _attend_floats)


def _attend_halves(values):
    task = carray(values, 18)
    group, width = task[3], task[4]
    steps, columns = _padded(width // 2, SIDE), _padded(width, PANEL)
    keys, turned = np.zeros((KEYS, steps), np.int32), np.zeros((steps, KEYS), np.int32)
    vectors = np.zeros((KEYS, columns // 2), np.uint32)
    panels = np.zeros((columns // PANEL, KEYS // 2, PANEL), np.uint32)
    sums = np.empty((12, PANEL), np.float32)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        tile = integers(task[13] + (chunk // task[2]) * 16, 4)
        rows, start = tile[2], tile[3]
        query = np.zeros((rows * group, steps), np.int32)
        scores = np.empty((rows * group, KEYS), np.float32)
        weights = np.zeros((rows * group, KEYS // 2), np.uint32)
        mixed = np.zeros((rows * group, columns), np.float32)
        state = np.empty((rows * group, 2), np.float32)
        _begin(task, chunk, tile, width // 2, query, state)
        window = task[15]
        begin = max(0, start + 1 - window) if window else 0
        for base in range(begin - begin % KEYS, start + rows, KEYS):
            span = max(base, begin), min(base + KEYS, start + rows)
            _gather(task, chunk, tile, base, span, width // 2, keys, vectors)
            _turn(keys, turned)
            _pair(vectors, panels)
            low = max(0, base - start) * group
            row = low
            while row < rows * group:
                count = multiply_halves(
                    rows * group - row,
                    query[row:].ctypes.data,
                    steps * 4,
                    turned.ctypes.data,
                    width // 2,
                    scores[row:].ctypes.data,
                )
                row += count
            _soften(task, scores, state, mixed, base, start, group, low)
            _narrow(scores, weights, low)
            row = low
            while row < rows * group:
                count = 1
                for panel in range(columns // PANEL):
                    count = multiply_halves(
                        rows * group - row,
                        weights[row:].ctypes.data,
                        KEYS * 2,
                        panels[panel].ctypes.data,
                        KEYS // 2,
                        sums.ctypes.data,
                    )
                    _add(sums, count, mixed, row, panel)
                row += count
        _finish(task, chunk, tile, mixed, state, True)


def _attend_floats(values):
    task = carray(values, 18)
    group, width = task[3], task[4]
    steps, columns = _padded(width, SIDE), _padded(width, PANEL)
    keys, turned = np.zeros((KEYS, steps), np.int32), np.zeros((steps, KEYS), np.int32)
    vectors = np.zeros((KEYS, columns), np.int32)
    panels = np.zeros((columns // PANEL, KEYS, PANEL), np.int32)
    sums = np.empty((12, PANEL), np.float32)
    while True:
        chunk = take(values)
        if chunk < 0:
            return
        tile = integers(task[13] + (chunk // task[2]) * 16, 4)
        rows, start = tile[2], tile[3]
        query = np.zeros((rows * group, steps), np.int32)
        scores = np.empty((rows * group, KEYS), np.float32)
        mixed = np.zeros((rows * group, columns), np.float32)
        state = np.empty((rows * group, 2), np.float32)
        _begin(task, chunk, tile, width, query, state)
        window = task[15]
        begin = max(0, start + 1 - window) if window else 0
        for base in range(begin - begin % KEYS, start + rows, KEYS):
            span = max(base, begin), min(base + KEYS, start + rows)
            _gather(task, chunk, tile, base, span, width, keys, vectors)
            _turn(keys, turned)
            _panel(vectors, panels)
            low = max(0, base - start) * group
            row = low
            while row < rows * group:
                row += multiply_floats(
                    rows * group - row,
                    query[row:].ctypes.data,
                    steps * 4,
                    turned.ctypes.data,
                    width,
                    scores[row:].ctypes.data,
                )
            _soften(task, scores, state, mixed, base, start, group, low)
            row = low
            while row < rows * group:
                count = 1
                for panel in range(columns // PANEL):
                    count = multiply_floats(
                        rows * group - row,
                        scores[row:].ctypes.data,
                        KEYS * 4,
                        panels[panel].ctypes.data,
                        KEYS,
                        sums.ctypes.data,
                    )
                    _add(sums, count, mixed, row, panel)
                row += count
        _finish(task, chunk, tile, mixed, state, False)


@compiled
def _padded(count, side):
    return (count + side - 1) // side * side


@compiled
def _place(task, chunk, tile, row, each):
    """Which vector of the query tensor belongs to a row and a head of the group."""
    head = chunk % task[2]
    return (tile[1] + row) * task[2] * task[3] + head * task[3] + each


@compiled
def _begin(task, chunk, tile, words, query, state):
    """Copy a tile's queries, of `words` 32-bit values each; nothing has been seen yet."""
    for row in range(tile[2]):
        for each in range(task[3]):
            place = _place(task, chunk, tile, row, each)
            source = integers(task[7] + place * words * 4, words)
            number = row * task[3] + each
            for i in range(words):
                query[number, i] = source[i]
            state[number, 0] = -np.inf
            state[number, 1] = 0


@compiled
def _gather(task, chunk, tile, base, span, words, keys, vectors):
    """Copy a block's keys and values from their pages; what nobody may see is zero."""
    head, page_tokens, row_bytes = chunk % task[2], task[5], words * 4
    size = row_bytes // task[4]
    table = integers(task[14] + tile[0] * task[6] * 4, task[6])
    if span[1] - span[0] < KEYS:
        keys[:] = 0
        vectors[:] = 0
    position = span[0]
    while position < span[1]:
        page = position // page_tokens
        offset = position - page * page_tokens
        run = min(page_tokens - offset, span[1] - position)
        slot = table[page] * page_tokens + offset
        of_keys = task[9] + head * task[11] * size + slot * row_bytes
        of_vectors = task[10] + head * task[12] * size + slot * row_bytes
        for i in range(run):
            number = position - base + i
            copy(keys.ctypes.data + number * keys.shape[1] * 4, of_keys + i * row_bytes, row_bytes)
            copy(
                vectors.ctypes.data + number * vectors.shape[1] * 4,
                of_vectors + i * row_bytes,
                row_bytes,
            )
        position += run


@compiled
def _turn(keys, turned):
    steps = keys.shape[1]
    for key in range(0, KEYS, SIDE):
        for step in range(0, steps, SIDE):
            source = keys.ctypes.data + (key * steps + step) * 4
            target = turned.ctypes.data + (step * KEYS + key) * 4
            transpose(source, steps * 4, target, KEYS * 4)


@compiled
def _pair(vectors, panels):
    """Values of two keys side by side, in panels of columns: even ones, then odd ones. `_finish`
    puts them back."""
    row_bytes = vectors.shape[1] * 4
    for pair in range(KEYS // 2):
        first = vectors.ctypes.data + 2 * pair * row_bytes
        for panel in range(panels.shape[0]):
            source = first + panel * PANEL * 2
            target = panels.ctypes.data + (panel * KEYS // 2 + pair) * PANEL * 4
            pair_halves(source, source + row_bytes, target)


@compiled
def _panel(vectors, panels):
    for panel in range(panels.shape[0]):
        for key in range(KEYS):
            for i in range(PANEL):
                panels[panel, key, i] = vectors[key, panel * PANEL + i]


@compiled_fast
def _soften(task, scores, state, mixed, base, start, group, low):
    """Scores become weights relative to the highest score so far, to which `mixed` is scaled."""
    cap, scale = np.float32(as_double(task[16])), np.float32(as_double(task[17]))
    columns = mixed.shape[1]
    for number in range(low, len(scores)):
        row = scores[number]
        own = start + number // group - base
        first = own + 1 - task[15] if task[15] else 0
        if first >= KEYS:
            # Other rows of the tile see this block; for this one it is as if it were not there.
            row[:] = 0
            continue
        for i in range(KEYS):
            row[i] *= scale
        if cap != 0:
            for i in range(KEYS):
                grown = exponential(np.float32(2) * row[i] / cap)
                row[i] = cap * (np.float32(1) - np.float32(2) / (grown + np.float32(1)))
        _hide(row, first, own, np.float32(-np.inf))
        highest = highest_of(row.ctypes.data, state[number, 0])
        kept = exponential(state[number, 0] - highest)
        total = np.float32(0)
        for i in range(KEYS):
            row[i] = exponential(row[i] - highest)
        _hide(row, first, own, np.float32(0))
        for i in range(KEYS):
            total += row[i]
        state[number, 0] = highest
        state[number, 1] = state[number, 1] * kept + total
        for i in range(columns):
            mixed[number, i] *= kept


@compiled
def _hide(row, first, own, value):
    """Overwrite what belongs to keys that a row does not see."""
    for i in range(min(first, KEYS)):
        row[i] = value
    for i in range(own + 1, KEYS):
        row[i] = value


@compiled
def _narrow(scores, weights, low):
    for number in range(low, len(scores)):
        target = shorts(weights[number].ctypes.data, KEYS)
        for i in range(KEYS):
            target[i] = np.uint16(narrowed(scores[number, i]))


@compiled
def _add(sums, count, mixed, row, panel):
    for each in range(count):
        for i in range(PANEL):
            mixed[row + each, panel * PANEL + i] += sums[each, i]


@compiled
def _finish(task, chunk, tile, mixed, state, narrow):
    width = task[4]
    ordered = np.empty(mixed.shape[1], np.float32)
    for row in range(tile[2]):
        for each in range(task[3]):
            number = row * task[3] + each
            place = _place(task, chunk, tile, row, each)
            mixed[number] /= state[number, 1]
            row_of = mixed[number]
            if narrow:
                for i in range(len(row_of)):
                    ordered[i] = row_of[
                        i // PANEL * PANEL + (i % 2) * (PANEL // 2) + i % PANEL // 2
                    ]
                row_of = ordered
            target = task[8] + place * width * (2 if narrow else 4)
            write_row(target, width, narrow, row_of)

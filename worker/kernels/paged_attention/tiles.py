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
    address_of,
    as_double,
    integers,
    write_row,
)
from worker.kernels.native.products import multiply_floats, multiply_halves
from worker.kernels.native.softmax import mix, soften_floats, soften_halves
from worker.kernels.native.team import Task, take
from worker.kernels.native.tile import PANEL
from worker.kernels.native.transpose import SIDE
from worker.kernels.paged_attention.blocks import KEYS, pair_block, panel_block, turn_block


@cache
def attention_task(dtype: torch.dtype) -> Task:
    """Attention over a cache of this dtype; compiled at the first call."""
    return Task(_attend_halves if dtype == torch.bfloat16 else _attend_floats)


def _attend_halves(values):
    task = carray(values, 19)
    group, width = task[3], task[4]
    steps, columns = _padded(width // 2, SIDE), _padded(width, PANEL)
    keys, turned = np.zeros((SIDE, steps), np.int32), np.zeros((steps, KEYS), np.int32)
    vectors = np.zeros((SIDE, columns // 2), np.int32)
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
        state = np.empty((rows * group, 3), np.float32)
        _begin(task, chunk, tile, width // 2, query, state)
        window = task[15]
        begin = max(0, start + 1 - window) if window else 0
        for base in range(begin - begin % KEYS, start + rows, KEYS):
            span = max(base, begin), min(base + KEYS, start + rows)
            turn_block(task, chunk, tile, base, span, keys, turned)
            pair_block(task, chunk, tile, base, span, vectors, panels)
            low = max(0, base - start) * group
            row = low
            while row < rows * group:
                count = multiply_halves(
                    rows * group - row,
                    address_of(query[row:]),
                    steps * 4,
                    address_of(turned),
                    width // 2,
                    address_of(scores[row:]),
                )
                row += count
            _soften(task, scores, weights, True, state, base, start, group, low)
            row = low
            while row < rows * group:
                count = 1
                for panel in range(columns // PANEL):
                    count = multiply_halves(
                        rows * group - row,
                        address_of(weights[row:]),
                        KEYS * 2,
                        address_of(panels[panel]),
                        KEYS // 2,
                        address_of(sums),
                    )
                    _add(sums, count, mixed, state, row, panel)
                row += count
        _finish(task, chunk, tile, mixed, state, True)


def _attend_floats(values):
    task = carray(values, 19)
    group, width = task[3], task[4]
    steps, columns = _padded(width, SIDE), _padded(width, PANEL)
    keys, turned = np.zeros((SIDE, steps), np.int32), np.zeros((steps, KEYS), np.int32)
    vectors = np.zeros((SIDE, columns), np.int32)
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
        state = np.empty((rows * group, 3), np.float32)
        _begin(task, chunk, tile, width, query, state)
        window = task[15]
        begin = max(0, start + 1 - window) if window else 0
        for base in range(begin - begin % KEYS, start + rows, KEYS):
            span = max(base, begin), min(base + KEYS, start + rows)
            turn_block(task, chunk, tile, base, span, keys, turned)
            panel_block(task, chunk, tile, base, span, vectors, panels)
            low = max(0, base - start) * group
            row = low
            while row < rows * group:
                row += multiply_floats(
                    rows * group - row,
                    address_of(query[row:]),
                    steps * 4,
                    address_of(turned),
                    width,
                    address_of(scores[row:]),
                )
            _soften(task, scores, scores, False, state, base, start, group, low)
            row = low
            while row < rows * group:
                count = 1
                for panel in range(columns // PANEL):
                    count = multiply_floats(
                        rows * group - row,
                        address_of(scores[row:]),
                        KEYS * 4,
                        address_of(panels[panel]),
                        KEYS,
                        address_of(sums),
                    )
                    _add(sums, count, mixed, state, row, panel)
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
def _soften(task, scores, weights, narrow, state, base, start, group, low):
    """Scores become weights relative to the highest score so far; `_add` shrinks what was mixed."""
    cap, scale = np.float32(as_double(task[16])), np.float32(as_double(task[17]))
    for number in range(low, len(scores)):
        own = start + number // group - base
        first = own + 1 - task[15] if task[15] else 0
        if first >= KEYS:
            # Other rows of the tile see this block; for this one it is as if it were not there.
            weights[number] = 0
            state[number, 2] = 1
            continue
        factor = scale
        if cap != 0:
            _cap(scores[number], scale, cap)
            factor = np.float32(1)
        row, made = address_of(scores[number]), address_of(weights[number])
        place = address_of(state[number])
        if narrow:
            soften_halves(row, made, first, own, factor, place)
        else:
            soften_floats(row, made, first, own, factor, place)


@compiled_fast
def _cap(row, scale, cap):
    for i in range(KEYS):
        grown = exponential(np.float32(2) * scale * row[i] / cap)
        row[i] = cap * (np.float32(1) - np.float32(2) / (grown + np.float32(1)))


@compiled
def _add(sums, count, mixed, state, row, panel):
    source, row_bytes = address_of(sums), mixed.shape[1] * 4
    target = address_of(mixed) + row * row_bytes + panel * PANEL * 4
    for each in range(count):
        mix(target + each * row_bytes, state[row + each, 2], source + each * PANEL * 4)


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

"""A block of keys and values, out of the pages of a KV cache into what products read.

Meanwhile the block to come is asked for line by line: decodes read so much that they would
otherwise wait for memory.
"""

from __future__ import annotations

from worker.kernels.native.compiled import compiled
from worker.kernels.native.memory import address_of, copy, integers, prefetch
from worker.kernels.native.tile import PANEL
from worker.kernels.native.transpose import SIDE, pair_halves, transpose

KEYS = PANEL
"""Of a block."""
LINE_BYTES = 64
"""Of the processor's caches."""


@compiled
def _following(task, chunk, tile, base):
    """Where the block after this one begins, (task, key): the first one of the next task, after a
    task's last."""
    if base + KEYS < tile[3] + tile[2]:
        return chunk, base + KEYS
    chunk = min(chunk + 1, task[1] - 1)
    start = integers(task[13] + (chunk // task[2]) * 16, 4)[3]
    begin = max(0, start + 1 - task[15]) if task[15] else 0
    return chunk, begin - begin % KEYS


@compiled
def _ahead(task, following, cache, head_stride, key):
    """Address of a row of the block to come, for `prefetch`. In the cache a block lies in short
    runs, which the machine cannot foresee; asked for all at once, it would wait for them."""
    chunk, base = following
    tile = integers(task[13] + (chunk // task[2]) * 16, 4)
    position = min(base + key, tile[3] + tile[2] - 1)
    page = position // task[5]
    block = integers(task[14] + (tile[0] * task[6] + page) * 4, 1)[0]
    slot = block * task[5] + position - page * task[5]
    return cache + ((chunk % task[2]) * head_stride + slot * task[4]) * task[18]


@compiled
def _rows(task, chunk, tile, cache, head_stride, first, span, held):
    """Address of the rows of SIDE keys, one behind another: in their page, or copied to `held`
    where no page holds them all, with zeros for what nobody may see."""
    page_tokens, row_bytes = task[5], task[4] * task[18]
    start = cache + (chunk % task[2]) * head_stride * task[18]
    table = integers(task[14] + tile[0] * task[6] * 4, task[6])
    held_bytes = held.shape[1] * 4
    inside = first >= span[0] and first + SIDE <= span[1]
    if inside and page_tokens % SIDE == 0 and row_bytes == held_bytes:
        page = first // page_tokens
        return start + (table[page] * page_tokens + first - page * page_tokens) * row_bytes
    target = address_of(held)
    held[:] = 0
    for position in range(max(first, span[0]), min(first + SIDE, span[1])):
        page = position // page_tokens
        slot = table[page] * page_tokens + position - page * page_tokens
        copy(target + (position - first) * held_bytes, start + slot * row_bytes, row_bytes)
    return target


@compiled
def turn_block(task, chunk, tile, base, span, held, turned):
    """Turn a block's keys."""
    row_bytes, following = held.shape[1] * 4, _following(task, chunk, tile, base)
    for key in range(0, KEYS, SIDE):
        source = _rows(task, chunk, tile, task[9], task[11], base + key, span, held)
        ahead = _ahead(task, following, task[9], task[11], key)
        for step in range(0, held.shape[1], SIDE):
            for line in range(step, step + SIDE):
                prefetch(ahead + line * LINE_BYTES)
            target = address_of(turned) + (step * KEYS + key) * 4
            transpose(source + step * 4, row_bytes, target, KEYS * 4)


@compiled
def pair_block(task, chunk, tile, base, span, held, panels):
    """Values of two keys side by side, in panels of columns: even ones, then odd ones. what follows
    puts them back."""
    row_bytes, following = held.shape[1] * 4, _following(task, chunk, tile, base)
    for key in range(0, KEYS, SIDE):
        first = _rows(task, chunk, tile, task[10], task[12], base + key, span, held)
        ahead = _ahead(task, following, task[10], task[12], key)
        for pair in range(SIDE // 2):
            for panel in range(panels.shape[0]):
                source = first + 2 * pair * row_bytes + panel * PANEL * 2
                offset = source - first
                prefetch(ahead + offset)
                prefetch(ahead + offset + row_bytes)
                place = (panel * KEYS + key) // 2 + pair
                pair_halves(source, source + row_bytes, address_of(panels) + place * PANEL * 4)


@compiled
def panel_block(task, chunk, tile, base, span, held, panels):
    """Values in panels of columns."""
    row_bytes, following = held.shape[1] * 4, _following(task, chunk, tile, base)
    for key in range(0, KEYS, SIDE):
        first = _rows(task, chunk, tile, task[10], task[12], base + key, span, held)
        ahead = _ahead(task, following, task[10], task[12], key)
        for each in range(SIDE):
            for panel in range(panels.shape[0]):
                place = each * row_bytes + panel * PANEL * 4
                prefetch(ahead + place)
                prefetch(ahead + place + LINE_BYTES)
                target = address_of(panels) + (panel * KEYS + key + each) * PANEL * 4
                copy(target, first + place, PANEL * 4)

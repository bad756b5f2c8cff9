"""The Triton kernels of ragged paged attention.

A program owns a block of query rows of one sequence and one KV head. The query heads that share the
KV head are packed into the rows of its products (so a decode fills a tensor core's 16), and softmax
is online (FlashAttention). The grid is an upper bound over shapes, and a program finds its sequence
by bisection, as vLLM's unified kernel does. Small batches split their keys (Flash-Decoding).
"""

from __future__ import annotations

import triton
import triton.language as tl

from worker.kernels.coding import unit_of, widened
from worker.kernels.ownership import owner_of

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["table_stride", "sequences"])
def attend(
    query,
    key_cache,
    value_cache,
    key_scales,
    value_scales,
    row_starts,
    positions,
    tables,
    output,
    parts,
    maxima,
    sums,
    query_stride,
    key_stride,
    value_stride,
    scale_stride,
    table_stride,
    sequences,
    scale,
    soft_cap,
    group: tl.constexpr,
    block_tokens: tl.constexpr,
    width: tl.constexpr,
    padded: tl.constexpr,
    lanes: tl.constexpr,
    tile: tl.constexpr,
    splits: tl.constexpr,
    window: tl.constexpr,
    capped: tl.constexpr,
    code: tl.constexpr,
):
    """One query block, one KV head, one split; see `gpu.py` for the arguments."""
    query_block: tl.constexpr = lanes // group
    program = tl.program_id(0)
    kv_head = tl.program_id(1).to(tl.int64)
    sequence = owner_of(program, row_starts + 1, sequences, query_block)
    first_row = tl.load(row_starts + sequence)
    rows = tl.load(row_starts + sequence + 1) - first_row
    begin = (program - first_row // query_block - sequence) * query_block
    if begin >= rows:
        return

    lane = tl.arange(0, lanes)
    row = begin + lane // group
    live = (lane < query_block * group) & (row < rows)
    start = tl.load(positions + sequence)
    position = start + row
    columns = tl.arange(0, padded)
    inside = columns < width
    head = kv_head * group + lane % group
    all_rows = (first_row + row).to(tl.int64)
    here = live[:, None] & inside[None, :]
    rotated = tl.load(
        query + all_rows[:, None] * query_stride + head[:, None] * width + columns[None, :],
        mask=here,
        other=0.0,
    )

    end = start + tl.minimum(begin + query_block, rows)
    first_tile = 0
    if window > 0:
        first_tile = tl.maximum(start + begin + 1 - window, 0) // tile
    last_tile = (end + tile - 1) // tile
    if splits > 1:
        share = (last_tile - first_tile + splits - 1) // splits
        first_tile += tl.program_id(2) * share
        last_tile = tl.minimum(first_tile + share, last_tile)

    maximum = tl.full([lanes], float("-inf"), tl.float32)
    total = tl.zeros([lanes], tl.float32)
    mixed = tl.zeros([lanes, padded], tl.float32)
    table = tables + tl.cast(sequence, tl.int64) * table_stride
    for index in range(first_tile, last_tile):
        at = index * tile + tl.arange(0, tile)
        written = at < end
        block = tl.load(table + at // block_tokens, mask=written, other=0).to(tl.int64)
        place = block * block_tokens + at % block_tokens
        slot = place * width
        keys = tl.load(
            key_cache + kv_head * key_stride + slot[None, :] + columns[:, None],
            mask=written[None, :] & inside[:, None],
            other=0,
        )
        keys = widened(keys, code).to(rotated.dtype)
        scores = tl.dot(rotated, keys, input_precision="ieee") * scale
        if code != "":
            # Codes are exact in any dtype, so a key's scale may wait for its scores.
            steps = tl.load(key_scales + kv_head * scale_stride + place, mask=written, other=0.0)
            scores = scores * (steps * unit_of(code))[None, :]
        if capped:
            # tanh(x) = 1 - 2 / (exp(2 x) + 1), right also where exp overflows.
            scores = soft_cap * (1.0 - 2.0 / (tl.exp(2.0 * scores / soft_cap) + 1.0))
        seen = live[:, None] & (at[None, :] <= position[:, None])
        if window > 0:
            seen = seen & (at[None, :] > position[:, None] - window)
        scores = tl.where(seen, scores * LOG2_E, float("-inf"))
        highest = tl.maximum(maximum, tl.max(scores, axis=1))
        # A row that has seen nothing yet: -inf - -inf is no number.
        level = tl.where(highest == float("-inf"), 0.0, highest)
        weights = tl.exp2(scores - level[:, None])
        fading = tl.exp2(maximum - level)
        maximum = highest
        total = total * fading + tl.sum(weights, axis=1)
        values = tl.load(
            value_cache + kv_head * value_stride + slot[:, None] + columns[None, :],
            mask=written[:, None] & inside[None, :],
            other=0,
        )
        values = widened(values, code)
        if code != "":
            steps = tl.load(value_scales + kv_head * scale_stride + place, mask=written, other=0.0)
            values = values.to(tl.float32) * (steps * unit_of(code))[:, None]
        values = values.to(rotated.dtype)
        mixed = mixed * fading[:, None]
        mixed += tl.dot(weights.to(rotated.dtype), values, input_precision="ieee")

    target = all_rows * tl.num_programs(1) * group + head
    if splits == 1:
        mean = mixed / tl.where(live, total, 1.0)[:, None]
        tl.store(
            output + target[:, None] * width + columns[None, :],
            mean.to(output.dtype.element_ty),
            mask=here,
        )
    else:
        target = target * splits + tl.program_id(2)
        tl.store(parts + target[:, None] * padded + columns[None, :], mixed, mask=live[:, None])
        tl.store(maxima + target, maximum, mask=live)
        tl.store(sums + target, total, mask=live)


@triton.jit
def join_splits(
    parts,
    maxima,
    sums,
    output,
    width: tl.constexpr,
    padded: tl.constexpr,
    splits: tl.constexpr,
):
    """One query row and head: the parts of its splits, each weighted by its own maximum."""
    target = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    split = target * splits + tl.arange(0, splits)
    columns = tl.arange(0, padded)
    maximum = tl.load(maxima + split)
    weights = tl.exp2(maximum - tl.max(maximum, axis=0))
    total = tl.sum(weights * tl.load(sums + split), axis=0)
    mixed = tl.load(parts + split[:, None] * padded + columns[None, :])
    mean = tl.sum(mixed * weights[:, None], axis=0) / total
    tl.store(output + target * width + columns, mean.to(output.dtype.element_ty), columns < width)

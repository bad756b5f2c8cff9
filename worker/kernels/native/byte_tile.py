"""The innermost loop of an int8 product: a tile of rows against one panel, group by group.

Rows and outputs have a scale for each `GROUP` of inputs: one for all of them would let a few large
values drown the others (LLM.int8(), Dettmers et al., 2022), which costs several times what the
rounding itself does. A group of a row is `GROUP` signed bytes, its scale (fp32), and what the shift
of the weights adds to its sums, negative (int32). Weights are shifted by `ZERO_POINT`, since the
instruction (VNNI) multiplies unsigned bytes with signed ones.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from worker.kernels.native.tile import (
    FLOATS,
    INTEGERS,
    LANES,
    LONG,
    PANEL,
    VECTOR_BYTES,
    load_at,
    spread,
)

GROUP = 64
GROUP_BYTES = GROUP + 8
ZERO_POINT = 128
BYTE_TILE_ROWS = (6, 4, 3, 2, 1)
"""Six rows of two vectors are twelve whole sums and twelve scaled ones."""
_VECTORS = PANEL // LANES
_STEPS = GROUP // 4
_BYTES = ir.VectorType(ir.IntType(8), VECTOR_BYTES)


def _byte_tile(rows: int, fetches: bool = False) -> Any:
    """`(first row, bytes between rows, panel, its scales, groups, sums)`: writes `rows` x PANEL
    fp32 sums. The panel has a scale for each group of each output: [groups, PANEL] fp32.

    Args:
        fetches: whether the panel behind this one is asked for meanwhile. Where several tiles meet
            a panel, memory would idle during all but the first.
    """

    @intrinsic
    def tile(
        typing_context: Any,
        row: Any,
        stride: Any,
        panel: Any,
        scales: Any,
        groups: Any,
        sums: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _loop(builder, rows, fetches, arguments)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return tile


def _loop(builder: Any, rows: int, fetches: bool, arguments: Any) -> None:
    first, stride, panel, scales, groups, sums = arguments
    starts = [builder.add(first, builder.mul(stride, LONG(row))) for row in range(rows)]
    before = builder.block
    loop, after = builder.append_basic_block("group"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    group = builder.phi(LONG)
    group.add_incoming(LONG(0), before)
    totals = [[builder.phi(FLOATS) for _ in range(_VECTORS)] for _ in range(rows)]
    places = [builder.add(each, builder.mul(group, LONG(GROUP_BYTES))) for each in starts]
    weights = builder.add(panel, builder.mul(group, LONG(GROUP * PANEL)))
    behind = builder.add(weights, builder.mul(groups, LONG(GROUP * PANEL))) if fetches else None
    place = builder.add(scales, builder.mul(group, LONG(PANEL * 4)))
    columns = [load_at(builder, place, n * VECTOR_BYTES, FLOATS) for n in range(_VECTORS)]
    made_sums = _sums(builder, places, weights, columns, totals, behind)
    for phis, made in zip(totals, made_sums, strict=True):
        for total, new in zip(phis, made, strict=True):
            total.add_incoming(ir.Constant(FLOATS, [0] * LANES), before)
            total.add_incoming(new, loop)
    following = builder.add(group, LONG(1))
    group.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, groups), loop, after)
    builder.position_at_end(after)
    for number, row_totals in enumerate(totals):
        for n, total in enumerate(row_totals):
            offset = LONG((number * _VECTORS + n) * VECTOR_BYTES)
            target = builder.inttoptr(builder.add(sums, offset), FLOATS.as_pointer())
            builder.store(total.incomings[1][0], target, align=4)


def _sums(
    builder: Any, places: Any, weights: Any, columns: Any, totals: Any, behind: Any | None
) -> list[list[Any]]:
    """One group's part of every sum, added to `totals`; asks for the memory `behind`."""
    word = ir.IntType(32)
    kind = ir.FunctionType(INTEGERS, [INTEGERS, _BYTES, _BYTES])
    multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    fused = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), "llvm.fma.v16f32"
    )
    shifts = [spread(builder, load_at(builder, place, GROUP + 4, word)) for place in places]
    whole: list[list[Any]] = [[shift] * _VECTORS for shift in shifts]
    for step in range(_STEPS):
        offset = step * _VECTORS * VECTOR_BYTES
        if behind is not None:
            for n in range(_VECTORS):
                _fetch(builder, builder.add(behind, LONG(offset + n * VECTOR_BYTES)))
        vectors = [
            load_at(builder, weights, offset + n * VECTOR_BYTES, _BYTES) for n in range(_VECTORS)
        ]
        for row, place in enumerate(places):
            values = spread(builder, load_at(builder, place, step * 4, word))
            signed = builder.bitcast(values, _BYTES)
            whole[row] = [
                builder.call(multiply, [total, vector, signed])
                for total, vector in zip(whole[row], vectors, strict=True)
            ]
    scaled = []
    for place, parts, row_totals in zip(places, whole, totals, strict=True):
        bits = spread(builder, load_at(builder, place, GROUP, word))
        scale = builder.bitcast(bits, FLOATS)
        floats = [builder.sitofp(total, FLOATS) for total in parts]
        scaled.append(
            [
                builder.call(fused, [each, builder.fmul(scale, column), total])
                for each, column, total in zip(floats, columns, row_totals, strict=True)
            ]
        )
    return scaled


def _fetch(builder: Any, address: Any) -> None:
    """Ask for a line of memory, to be had in the second cache; harmless where there is none."""
    word = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    reads, second_cache, data = word(0), word(2), word(1)
    pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
    builder.call(function, [pointer, reads, second_cache, data])


byte_tiles = {rows: _byte_tile(rows) for rows in BYTE_TILE_ROWS}
first_byte_tile = _byte_tile(BYTE_TILE_ROWS[0], fetches=True)
"""The largest tile where more will follow."""

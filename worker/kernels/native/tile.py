"""The innermost loop of a matrix product, in LLVM's language: a tile of rows against one panel.

A panel is `PANEL` outputs of a weight matrix, laid out so that one 64-byte vector holds the next
four bytes of sixteen outputs: [inputs x width / 4, PANEL, 4 / width]. One instruction multiplies
them with the next four bytes of a row: two bfloat16 or one float (four int8 are in `byte_tile`).
oneDNN and llama.cpp repack to the like; a row's sums are added in the order of its inputs, whatever
the tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

PANEL = 32
LANES = 16
VECTOR_BYTES = 64
TILE_ROWS = (12, 8, 4, 3, 2, 1)
"""Twelve rows of two vectors are 24 sums: with weights and row they fill the 32 registers."""

LONG = ir.IntType(64)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
FLOATS = ir.VectorType(ir.FloatType(), LANES)

Multiply = Callable[[Any, Any, Any, Any], Any]


class _Halves(ir.Type):  # type: ignore[misc]
    """llvmlite has no bfloat."""

    def _to_string(self) -> str:
        return "<32 x bfloat>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Halves)

    def __hash__(self) -> int:
        return hash("bfloat")


def _halves_product(builder: Any, total: Any, row: Any, weights: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS, _Halves(), _Halves()])
    function = cgutils.get_or_insert_function(
        builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512"
    )
    return builder.call(function, [total, *(builder.bitcast(v, _Halves()) for v in (row, weights))])


def _floats_product(builder: Any, total: Any, row: Any, weights: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32")
    wide = (builder.bitcast(vector, FLOATS) for vector in (row, weights))
    return builder.call(function, [*wide, total])


def _tile(rows: int, kind: Any, multiply: Multiply) -> Any:
    """`(first row, bytes between rows, panel, vectors, sums)`: writes `rows` x PANEL sums."""

    @intrinsic
    def tile(typing_context: Any, row: Any, stride: Any, panel: Any, steps: Any, sums: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _loop(builder, rows, kind, multiply, arguments)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), generate

    return tile


def _loop(builder: Any, rows: int, kind: Any, multiply: Multiply, arguments: Any) -> None:
    first, stride, panel, steps, sums = arguments
    vectors = PANEL // LANES
    starts = [builder.add(first, builder.mul(stride, LONG(row))) for row in range(rows)]
    before, loop, after = (
        builder.block,
        builder.append_basic_block("loop"),
        builder.append_basic_block("after"),
    )
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(LONG)
    step.add_incoming(LONG(0), before)
    totals = [[builder.phi(kind) for _ in range(vectors)] for _ in range(rows)]
    place = builder.add(panel, builder.mul(step, LONG(VECTOR_BYTES * vectors)))
    weights = [load_at(builder, place, VECTOR_BYTES * n, INTEGERS) for n in range(vectors)]
    offset = builder.shl(step, LONG(2))
    following = builder.add(step, LONG(1))
    for start, row_totals in zip(starts, totals, strict=True):
        values = spread(builder, load_at(builder, builder.add(start, offset), 0, ir.IntType(32)))
        for total, weight in zip(row_totals, weights, strict=True):
            total.add_incoming(ir.Constant(kind, [0] * LANES), before)
            total.add_incoming(multiply(builder, total, values, weight), loop)
    step.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
    builder.position_at_end(after)
    for row, row_totals in enumerate(totals):
        for n, total in enumerate(row_totals):
            offset = LONG((row * vectors + n) * VECTOR_BYTES)
            target = builder.inttoptr(builder.add(sums, offset), kind.as_pointer())
            builder.store(total.incomings[1][0], target, align=4)


def load_at(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    pointer = builder.inttoptr(builder.add(address, LONG(offset)), kind.as_pointer())
    return builder.load(pointer, align=1)


def spread(builder: Any, value: Any) -> Any:
    """One 32-bit value in every lane."""
    nothing = ir.Constant(INTEGERS, ir.Undefined)
    single = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(single, nothing, ir.Constant(INTEGERS, [0] * LANES))


half_tiles = {rows: _tile(rows, FLOATS, _halves_product) for rows in TILE_ROWS}
float_tiles = {rows: _tile(rows, FLOATS, _floats_product) for rows in TILE_ROWS}

"""Rows of sixteen 32-bit values: turned, paired or compared in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

SIDE = 16
_LONG = ir.IntType(64)
_ROW = ir.VectorType(ir.IntType(32), SIDE)


@intrinsic
def transpose(
    typing_context: Any, source: Any, source_stride: Any, target: Any, target_stride: Any
) -> Any:
    """`(source, bytes between its rows, target, bytes between its rows)`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, source_stride, target, target_stride = arguments
        rows = [builder.load(_row(builder, source, source_stride, i), align=4) for i in range(SIDE)]
        for distance in (8, 4, 2, 1):
            rows = _exchange(builder, rows, distance)
        for i, row in enumerate(rows):
            builder.store(row, _row(builder, target, target_stride, i), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _row(builder: Any, address: Any, stride: Any, number: int) -> Any:
    place = builder.add(address, builder.mul(stride, _LONG(number)))
    return builder.inttoptr(place, _ROW.as_pointer())


def _exchange(builder: Any, rows: list[Any], distance: int) -> list[Any]:
    """Swap the off-diagonal quarters of each square of twice `distance` rows."""
    upper = [i if not i & distance else i - distance + SIDE for i in range(SIDE)]
    lower = [i + distance if not i & distance else i + SIDE for i in range(SIDE)]
    made = list(rows)
    for i in range(SIDE):
        if not i & distance:
            pair = rows[i], rows[i + distance]
            made[i] = builder.shuffle_vector(*pair, ir.Constant(_ROW, upper))
            made[i + distance] = builder.shuffle_vector(*pair, ir.Constant(_ROW, lower))
    return made


@intrinsic
def pair_halves(typing_context: Any, first: Any, second: Any, target: Any) -> Any:
    """Pair the 32 halves of one row with those of another: first the even pairs, then the odd ones,
    since that takes no shuffling."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, other = (
            builder.load(_row(builder, address, _LONG(0), 0), align=4) for address in arguments[:2]
        )
        bits, low, high = ([value] * SIDE for value in (16, 0xFFFF, 0xFFFF0000))
        shift, low, high = (ir.Constant(_ROW, values) for values in (bits, low, high))
        even = builder.or_(builder.and_(one, low), builder.shl(other, shift))
        odd = builder.or_(builder.lshr(one, shift), builder.and_(other, high))
        builder.store(even, _row(builder, arguments[2], _LONG(0), 0), align=4)
        builder.store(odd, _row(builder, arguments[2], _LONG(SIDE * 4), 1), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate

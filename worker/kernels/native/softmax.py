"""One step of an online softmax (Milakov and Gimelshein, 2018) in registers: a row of scores
becomes weights relative to the highest score so far."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from worker.kernels.native.exponential import HIGHEST, LOG2_E, LOWEST, SERIES
from worker.kernels.native.tile import FLOATS, INTEGERS, LANES, LONG, PANEL, VECTOR_BYTES

_FLOAT = ir.FloatType()
_SHORTS = ir.VectorType(ir.IntType(16), LANES)


def _step(narrow: bool) -> Any:
    """`(scores, weights, first, last, scale, state)`: of PANEL keys, a row sees those from `first`
    to `last`. Writes its weights, as bfloat16 or fp32, and its state: the highest score, the sum of
    the weights, and by how much all weights before shrink."""

    @intrinsic
    def step(
        typing_context: Any,
        scores: Any,
        weights: Any,
        first: Any,
        last: Any,
        scale: Any,
        state: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _generate(builder, narrow, *arguments)
            return context.get_dummy_value()

        signature = (types.int64, types.int64, types.int64, types.int64, types.float32, types.int64)
        return types.void(*signature), generate

    return step


def _generate(
    builder: Any,
    narrow: bool,
    scores: Any,
    weights: Any,
    first: Any,
    last: Any,
    scale: Any,
    state: Any,
) -> None:
    highest_at = builder.inttoptr(state, _FLOAT.as_pointer())
    total_at = builder.gep(highest_at, [LONG(1)])
    before = builder.load(highest_at)
    parts = range(PANEL // LANES)
    factor = _spread(builder, scale)
    rows = [
        builder.fmul(builder.load(_at(builder, scores, n, FLOATS), align=4), factor) for n in parts
    ]
    seen = [_seen(builder, n, first, last) for n in parts]
    lowest = ir.Constant(FLOATS, [-math.inf] * LANES)
    # What is not a number is passed over here, and spoils the weights of its own row.
    numbers = (
        builder.select(builder.and_(there, builder.fcmp_ordered("ord", row, row)), row, lowest)
        for row, there in zip(rows, seen, strict=True)
    )
    highest = _larger(builder, _folded(builder, list(numbers), _larger), before)
    shift = _spread(builder, highest)
    made = [
        builder.select(there, _power(builder, builder.fsub(row, shift)), ir.Constant(FLOATS, None))
        for row, there in zip(rows, seen, strict=True)
    ]
    for n, part in enumerate(made):
        _store(builder, narrow, part, weights, n)
    total = _folded(builder, made, lambda builder, one, other: builder.fadd(one, other))
    # A vector for one number: so there is one exponential, and its lanes cost nothing.
    kept = _power(builder, _spread(builder, builder.fsub(before, highest)))
    kept = builder.extract_element(kept, ir.IntType(32)(0))
    builder.store(highest, highest_at)
    grown = builder.fadd(builder.fmul(builder.load(total_at), kept), total)
    builder.store(grown, total_at)
    builder.store(kept, builder.gep(highest_at, [LONG(2)]))


def _at(builder: Any, address: Any, number: int, kind: Any, size: int = VECTOR_BYTES) -> Any:
    return builder.inttoptr(builder.add(address, LONG(number * size)), kind.as_pointer())


def _store(builder: Any, narrow: bool, values: Any, address: Any, number: int) -> None:
    if not narrow:
        builder.store(values, _at(builder, address, number, FLOATS), align=4)
        return
    bits = builder.bitcast(values, INTEGERS)
    upper = builder.lshr(bits, _all(16))
    rounding = builder.add(builder.and_(upper, _all(1)), _all(0x7FFF))
    halves = builder.trunc(builder.lshr(builder.add(bits, rounding), _all(16)), _SHORTS)
    builder.store(halves, _at(builder, address, number, _SHORTS, VECTOR_BYTES // 2), align=2)


def _all(value: int) -> Any:
    return ir.Constant(INTEGERS, [value] * LANES)


def _spread(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, LANES)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(single, single, ir.Constant(INTEGERS, [0] * LANES))


def _seen(builder: Any, part: int, first: Any, last: Any) -> Any:
    lanes = ir.Constant(INTEGERS, [part * LANES + lane for lane in range(LANES)])
    ends = (_spread(builder, builder.trunc(end, ir.IntType(32))) for end in (first, last))
    low, high = ends
    return builder.and_(
        builder.icmp_signed(">=", lanes, low), builder.icmp_signed("<=", lanes, high)
    )


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _folded(builder: Any, rows: list[Any], join: Any) -> Any:
    """All lanes of all rows joined, in halves: always in the same order."""
    whole = rows[0]
    for row in rows[1:]:
        whole = join(builder, whole, row)
    width = LANES
    while width > 1:
        width //= 2
        lanes = [(lane + width) % LANES for lane in range(LANES)]
        whole = join(
            builder, whole, builder.shuffle_vector(whole, whole, ir.Constant(INTEGERS, lanes))
        )
    return builder.extract_element(whole, ir.IntType(32)(0))


def _power(builder: Any, value: Any) -> Any:
    """`exponential.exponential` of sixteen values."""

    def constant(number: Any) -> Any:
        return ir.Constant(FLOATS, [float(number)] * LANES)

    def call(name: str, *values: Any) -> Any:
        kind = ir.FunctionType(FLOATS, [FLOATS] * len(values))
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

    for bound, sign in ((constant(LOWEST), "<"), (constant(HIGHEST), ">")):
        value = builder.select(builder.fcmp_ordered(sign, value, bound), bound, value)
    turns = builder.fmul(value, constant(LOG2_E))
    whole = call("llvm.rint.v16f32", turns)
    part = builder.fsub(turns, whole)
    series = constant(SERIES[-1])
    for factor in (*SERIES[-2::-1], 1.0):
        series = call("llvm.fma.v16f32", part, series, constant(factor))
    exponent = builder.add(builder.fptosi(whole, INTEGERS), _all(127))
    return builder.fmul(series, builder.bitcast(builder.shl(exponent, _all(23)), FLOATS))


soften_halves = _step(narrow=True)
soften_floats = _step(narrow=False)


@intrinsic
def mix(typing_context: Any, mixed: Any, kept: Any, sums: Any) -> Any:
    """PANEL floats at `mixed` shrink to `kept` of themselves, and grow by those at `sums`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, kept, source = arguments
        factor = _spread(builder, kept)
        for n in range(PANEL // LANES):
            place = _at(builder, target, n, FLOATS)
            before = builder.fmul(builder.load(place, align=4), factor)
            added = builder.load(_at(builder, source, n, FLOATS), align=4)
            builder.store(builder.fadd(before, added), place, align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32, types.int64), generate

"""Addresses as arrays, and bfloat16, which numba does not know: the upper half of a float."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from worker.kernels.native.compiled import compiled


def _pointer_to(element: Any) -> Any:
    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = context.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], kind)

        return types.CPointer(element)(types.int64), generate

    return pointer


_to_floats = _pointer_to(types.float32)
_to_integers = _pointer_to(types.int32)
_to_longs = _pointer_to(types.int64)
_to_shorts = _pointer_to(types.uint16)
_to_bytes = _pointer_to(types.int8)


def _reinterpret(source: Any, target: Any) -> Any:
    @intrinsic
    def cast(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return cast


as_float = _reinterpret(types.uint32, types.float32)
as_bits = _reinterpret(types.float32, types.uint32)
as_double = _reinterpret(types.int64, types.float64)


@compiled
def address_of(array):
    """Signed, as the rest of an address's arithmetic: with an unsigned number in it, numba would
    compute in floating point."""
    return np.int64(array.ctypes.data)


@compiled
def floats(address, count):
    return carray(_to_floats(address), count)


@compiled
def integers(address, count):
    return carray(_to_integers(address), count)


@compiled
def longs(address, count):
    return carray(_to_longs(address), count)


@compiled
def shorts(address, count):
    return carray(_to_shorts(address), count)


@compiled
def signed_octets(address, count):
    return carray(_to_bytes(address), count)


@compiled
def narrowed(value):
    """The nearest bfloat16, ties to even, in the lower half of a uint32."""
    bits = as_bits(value)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)


@compiled
def widened(half):
    return as_float(np.uint32(np.uint32(half) << np.uint32(16)))


@compiled
def rounded(value, narrow):
    """What is left of a float in a row of this kind."""
    return widened(narrowed(value)) if narrow else value


@compiled
def read_row(address, count, narrow, row):
    """Fill `row` (fp32) from bfloat16 (`narrow`) or fp32 memory."""
    if narrow:
        source = shorts(address, count)
        for i in range(count):
            row[i] = widened(source[i])
    else:
        wide = floats(address, count)
        for i in range(count):
            row[i] = wide[i]


@compiled
def write_row(address, count, narrow, row):
    """The reverse of `read_row`."""
    if narrow:
        target = shorts(address, count)
        for i in range(count):
            target[i] = np.uint16(narrowed(row[i]))
    else:
        wide = floats(address, count)
        for i in range(count):
            wide[i] = row[i]


@intrinsic
def copy(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes from one address to another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = context.get_value_type(types.CPointer(types.uint8))
        to, of = (builder.inttoptr(address, byte) for address in arguments[:2])
        cgutils.raw_memcpy(builder, to, of, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the 64 bytes around an address, which need not be readable, without waiting: into the
    second level of caches, which has more requests under way than the first."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        reading, second, data = number(0), number(2), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], byte), reading, second, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate

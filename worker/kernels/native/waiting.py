"""How threads that share memory wait for each other, in LLVM's language."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LONG = ir.IntType(64)


@intrinsic
def add_to(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to the integer at an address, in one order that all threads see."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _LONG.as_pointer())
        builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def seen_at(typing_context: Any, address: Any) -> Any:
    """The integer at an address, as other threads have left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _LONG.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def call_at(typing_context: Any, function: Any, values: Any) -> Any:
    """Call the task at an address with the values at another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values_kind = _LONG.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [values_kind]).as_pointer()
        target = builder.inttoptr(arguments[0], kind)
        builder.call(target, [builder.inttoptr(arguments[1], values_kind)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _call_of(name: str, result: Any) -> Any:
    @intrinsic
    def call(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(result, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
            return context.get_dummy_value()

        return types.void(), generate

    return call


pause = _call_of("llvm.x86.sse2.pause", ir.VoidType())
"""Tell the core that this thread only looks whether something has changed."""

give_way = _call_of("sched_yield", ir.IntType(32))
"""Let another thread have the core."""

"""The queue's functions inside Redis (`functions.lua`)."""

from __future__ import annotations

from infra.function_library import FunctionLibrary

_library = FunctionLibrary("infra.queue")
call = _library.call
call_each = _library.call_each

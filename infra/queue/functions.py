"""The queue's functions inside Redis (`functions.lua`)."""

from __future__ import annotations

from infra.function_library import FunctionLibrary

call = FunctionLibrary("infra.queue").call

"""Runs one compiled function on torch's own threads.

A second pool would fight the first for the cores. So the function goes to the OpenMP library that
torch has loaded, by the entry point that compilers call (`GOMP_parallel`). Chunks are handed out
as threads become free: a core that another process holds delays one chunk, not half of the work.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import torch
from numba import cfunc, int64, types
from numba.extending import intrinsic
from torch import Tensor

from worker.kernels.native.toolchain import can_cache

_log = logging.getLogger(__name__)
"""Not the platform's: a machine with a GPU runs kernels without its packages."""
_HEAD = 2
"""The first values of a task are the next chunk and their number."""


class Recorder(Protocol):
    def add(self, address: int, chunks: int, values: Sequence[int]) -> None:
        """Keep a call of a task for later."""

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory that stays as long as the recorder, for what a task writes."""


class _Recording(threading.local):
    recorder: Recorder | None = None


_recording = _Recording()


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Tasks of this thread are kept by the recorder instead of being run: until it runs them, what
    they write must not be read."""
    before, _recording.recorder = _recording.recorder, recorder
    try:
        yield
    finally:
        _recording.recorder = before


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """What a task is going to write."""
    recorder = _recording.recorder
    return torch.empty(*shape, dtype=dtype) if recorder is None else recorder.empty(shape, dtype)


def contiguous(source: Tensor) -> Tensor:
    """What a task is going to read.

    Raises:
        RuntimeError: it had to be copied, but what it holds is recorded and not yet computed.
    """
    if _recording.recorder is not None and not source.is_contiguous():
        raise RuntimeError("a recorded task needs what it reads in rows without gaps")
    return source.contiguous()


class Task:
    """A compiled function `(values)` that takes chunks until none is left."""

    def __init__(self, body: Callable[[Any], None]) -> None:
        kind = types.void(types.CPointer(types.int64))
        compiled = cfunc(kind, cache=can_cache(), error_model="numpy")(body)
        self._kept = compiled
        self._address: int = compiled.address

    def run(self, chunks: int, *values: int) -> None:
        """Call the function with `values` (addresses of live tensors, sizes) behind the head."""
        if _recording.recorder is not None:
            _recording.recorder.add(self._address, chunks, values)
            return
        arguments = (ctypes.c_int64 * (_HEAD + len(values)))(0, chunks, *values)
        self.call(ctypes.addressof(arguments), chunks)

    def call(self, arguments: int, most_threads: int) -> None:
        """Call the function with the values at an address, on as many threads as torch has."""
        threads = min(torch.get_num_threads(), most_threads)
        parallel = _parallel() if threads > 1 else None
        if parallel is not None:
            parallel(self._address, arguments, threads, 0)
        else:
            _function(self._address)(arguments)


@cache
def _function(address: int) -> Any:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)


@cache
def float_bits(value: float) -> int:
    """A float as a value of a task; `as_double` reads it back."""
    bits: int = struct.unpack("q", struct.pack("d", value))[0]
    return bits


@cache
def _parallel() -> Any | None:
    """`GOMP_parallel` of the library that this process has loaded already, if it has one."""
    try:
        library = ctypes.CDLL("libgomp.so.1", mode=getattr(ctypes, "RTLD_NOLOAD", 4))
        function = library.GOMP_parallel
    except (OSError, AttributeError) as error:
        _log.warning("kernels run on one thread: torch has not loaded libgomp.so.1 (%s)", error)
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@intrinsic
def take(typing_context: Any, values: Any) -> Any:
    """The next chunk of a task, or -1 where all are taken."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        chunk = builder.atomic_rmw("add", arguments[0], context.get_constant(int64, 1), "monotonic")
        chunks = builder.load(builder.gep(arguments[0], [context.get_constant(int64, 1)]))
        none = context.get_constant(int64, -1)
        return builder.select(builder.icmp_signed("<", chunk, chunks), chunk, none)

    return types.int64(types.CPointer(types.int64)), generate

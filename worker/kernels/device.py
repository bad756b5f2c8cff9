"""Which implementation of an operation runs: the one place that decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from typing import ParamSpec, TypeVar, cast

from torch import Tensor

from infra.extras import install_command
from worker.kernels.native.toolchain import available

P = ParamSpec("P")
R = TypeVar("R")


class TritonMissingError(RuntimeError):
    """Tensors are on a GPU, and the compiler of its kernels is not installed."""

    def __init__(self) -> None:
        super().__init__(f"GPU kernels need Triton; get it with: {install_command('gpu')}")


def by_device(reference: Callable[P, R]) -> Callable[P, R]:
    """The function of the same name in the `gpu.py` beside the reference, where the first argument
    is on a GPU; in the `cpu.py`, where there is one and numba is installed; else the reference.

    Triton and numba are imported at the first tensor that needs them: a machine may lack them.

    Raises:
        TritonMissingError: at a call on a GPU without Triton.
    """
    package = reference.__module__.rpartition(".")[0]

    @cache
    def kernel() -> Callable[P, R]:
        try:
            import_module("triton")
        except ImportError as error:
            raise TritonMissingError from error
        return cast(Callable[P, R], getattr(import_module(f"{package}.gpu"), reference.__name__))

    @cache
    def compiled() -> Callable[P, R]:
        if not available() or find_spec(f"{package}.cpu") is None:
            return reference
        return cast(Callable[P, R], getattr(import_module(f"{package}.cpu"), reference.__name__))

    @wraps(reference)
    def operation(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        on_gpu = isinstance(first, Tensor) and first.is_cuda
        return (kernel() if on_gpu else compiled())(*args, **kwargs)

    return operation

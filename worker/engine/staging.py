"""The way of a step's integers to the device: packed, in one copy, from pinned memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.scheduling.scheduler import MAX_OUTSTANDING

ALIGNMENT_BYTES = 16
"""Triton compiles a kernel anew for a pointer that is less aligned than the last one."""

_DTYPES = {np.dtype(np.int32): torch.int32, np.dtype(np.int64): torch.int64}


class StagingFull(RuntimeError):
    """A step has more integers than the engine's limits allow: a fault of ours."""


class Staging:
    """One buffer on the device, and one on the host for each step that may be outstanding."""

    def __init__(self, capacity_bytes: int, device: torch.device) -> None:
        pinned = device.type == "cuda"
        buffers = [
            torch.empty(capacity_bytes, dtype=torch.uint8, pin_memory=pinned)
            for _ in range(MAX_OUTSTANDING)
        ]
        self._turns = itertools.cycle([_HostBuffer(each, pinned) for each in buffers])
        self._device = torch.empty(capacity_bytes, dtype=torch.uint8, device=device)

    def send(self, arrays: Sequence[NDArray[Any]]) -> list[Tensor]:
        """Queue the copy of arrays; returns where they will be on the device.

        An array's place depends on the sizes of those before it and on nothing else. What was sent
        before is overwritten, in the order of the stream.

        Raises:
            StagingFull: they need more room than there is.
        """
        places = _places(arrays)
        end = places[-1][1] if places else 0
        if end > self._device.numel():
            raise StagingFull(f"{end} bytes of a step's integers, {self._device.numel()} fit")
        next(self._turns).copy(arrays, places, self._device[:end])
        return [
            self._device[begin : begin + array.nbytes].view(_DTYPES[array.dtype]).view(array.shape)
            for array, (begin, _) in zip(arrays, places, strict=True)
        ]


class _HostBuffer:
    def __init__(self, buffer: Tensor, pinned: bool) -> None:
        self._buffer = buffer
        self._bytes = buffer.numpy()
        self._copied = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]

    def copy(
        self, arrays: Sequence[NDArray[Any]], places: Sequence[tuple[int, int]], target: Tensor
    ) -> None:
        if self._copied is not None:
            # The copy of its last turn ran long ago, unless steps are launched and not waited for.
            self._copied.synchronize()
        for array, (begin, _) in zip(arrays, places, strict=True):
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._bytes[begin : begin + array.nbytes] = flat
        target.copy_(self._buffer[: target.numel()], non_blocking=True)
        if self._copied is not None:
            self._copied.record()


def _places(arrays: Sequence[NDArray[Any]]) -> list[tuple[int, int]]:
    """Where each begins, and where the next may."""
    ends = list(
        itertools.accumulate(
            -(-array.nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for array in arrays
        )
    )
    return list(zip([0, *ends[:-1]], ends, strict=True))

"""Weights to a GPU: through a few pinned buffers, so that copying them there overlaps the copies
into them, on a stream of its own, so that neither waits for a kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from worker.loader.weight_source import WeightSource
from worker.loader.weights import fill
from worker.models.base import WeightTarget
from worker.models.layers.linear import WeightPart

BUFFERS = 4
BUFFER_BYTES = 16 << 20
"""Small beside a layer: at its end one buffer's copy is waited for."""


class StagedFill:
    """`arrival.Fill` for a device. Conversions and quantisation happen there.

    Args:
        device: a GPU; with a CPU the same is done without pinning and streams.
    """

    def __init__(self, device: torch.device, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._buffers = [
            torch.empty(buffer_bytes, dtype=torch.uint8, pin_memory=self._on_gpu)
            for _ in range(BUFFERS)
        ]
        self._next = 0
        self._stream = _stream(device) if self._on_gpu else None
        self._free: list[torch.cuda.Event | None] = [None] * BUFFERS
        """What has to have happened before a buffer is written again."""
        if self._stream is not None:
            # What the tensors' memory was used for before is over then.
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def __call__(self, part: Mapping[str, WeightTarget], source: WeightSource) -> None:
        """See `fill_part`; when it returns, any stream may read the tensors."""
        with self._on_stream():
            for name in sorted(part, key=lambda each: source.entries[each].data_offsets):
                values, scales = source.tensor(name), source.scales(name)
                self._fill(part[name], values, scales)
        if self._stream is not None:
            self._stream.synchronize()

    def _fill(self, target: WeightTarget, values: Tensor, scales: Tensor | None) -> None:
        for first, last in self._blocks(values):
            rows = self._staged(values[first:last])
            its_scales = None if scales is None else self._staged(scales[first:last])
            fill(rows_of(target, first, last), rows, its_scales)

    def _blocks(self, values: Tensor) -> Iterator[tuple[int, int]]:
        """Rows that fit a buffer; one at least."""
        row_bytes = max(1, values.nbytes // max(1, len(values)))
        step = max(1, len(self._buffers[0]) // row_bytes)
        for first in range(0, len(values), step):
            yield first, min(first + step, len(values))

    def _staged(self, rows: Tensor) -> Tensor:
        """The rows on the device, once the stream is there."""
        number, self._next = self._next, (self._next + 1) % BUFFERS
        event = self._free[number]
        if event is not None:
            event.synchronize()
        if len(self._buffers[number]) < rows.nbytes:
            grown = torch.empty(rows.nbytes, dtype=torch.uint8, pin_memory=self._on_gpu)
            self._buffers[number] = grown
        pinned = self._buffers[number][: rows.nbytes].view(rows.dtype).view(rows.shape)
        pinned.copy_(rows)
        there = pinned.to(self._device, non_blocking=True)
        if self._stream is not None:
            self._free[number] = self._stream.record_event()
        return there

    def _on_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def rows_of(target: WeightTarget, first: int, last: int) -> WeightTarget:
    """Some rows of a target as one of their own."""
    if isinstance(target, WeightPart):
        return WeightPart(target.weight, target.first + first, last - first)
    assert isinstance(target, Tensor)
    return target[first:last]


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

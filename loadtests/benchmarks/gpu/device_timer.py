"""How long a device takes for work that is queued on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

Work = Callable[[], object]


class DeviceTimer(Protocol):
    def seconds(self, work: Sequence[Work], rounds: int) -> list[float]:
        """Of all work, one piece after the other: one figure a round, after one that is dropped."""


class HostTimer:
    """For work that has been done when its call returns."""

    def seconds(self, work: Sequence[Work], rounds: int) -> list[float]:
        return [self._round(work) for _ in range(rounds + 1)][1:]

    def _round(self, work: Sequence[Work]) -> float:
        began = time.perf_counter()
        for each in work:
            each()
        return time.perf_counter() - began


class CudaTimer:
    """Replays the work as one graph: what Python takes to launch it is not the kernel's time."""

    def seconds(self, work: Sequence[Work], rounds: int) -> list[float]:
        for each in work:
            each()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for each in work:
                each()
        return [self._round(graph) for _ in range(rounds + 1)][1:]

    def _round(self, graph: torch.cuda.CUDAGraph) -> float:
        began, ended = _event(), _event()
        began.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1000


def timer_of(device: torch.device) -> DeviceTimer:
    return CudaTimer() if device.type == "cuda" else HostTimer()


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

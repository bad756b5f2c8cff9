"""Decode steps as CUDA graphs: one for each of a few batch sizes, replayed with other contents."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

Body = Callable[[], None]
"""Queues work on tensors that stay where they are, and reads nothing on the host."""

DENSE_SIZES = (1, 2, 4, 8)
STRIDE = 16
MOST_ROWS = 512
"""Beyond it a step is long enough to hide its launches."""


class Capture(Protocol):
    def __call__(self, body: Body) -> Body:
        """Record what `body` queues; returns what queues it again."""


class CudaCapture:
    """All graphs share one memory pool: the first and largest makes it as large as it gets, and
    only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, body: Body) -> Body:
        # Compiles kernels and lets libraries make their workspaces, which cannot be recorded.
        body()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Weights may still be on their way, by calls of another thread.
        mode = "thread_local"
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode=mode):
            body()
        return graph.replay


def graph_sizes(max_running: int) -> list[int]:
    """Batch sizes worth a graph, rising: a batch runs in the next larger one, with rows that belong
    to nobody, so none is more than 15 rows (or half of a small batch) too large."""
    top = min(max_running, MOST_ROWS)
    sizes = {size for size in DENSE_SIZES if size < top}
    return sorted({*sizes, *range(STRIDE, top, STRIDE), top})


@dataclass(frozen=True, slots=True)
class DecodeGraphs:
    sizes: tuple[int, ...]
    """Rising."""
    replays: tuple[Body, ...]

    @classmethod
    def record(
        cls,
        sizes: list[int],
        body_of: Callable[[int], Body],
        capture: Capture,
        progress: Callable[[int, int], None],
    ) -> DecodeGraphs:
        """Record the largest first, so that all others fit into the memory that it took.

        Args:
            body_of: what a step of so many rows queues.
            progress: hears how many are done, and of how many.
        """
        recorded: dict[int, Body] = {}
        for size in sorted(sizes, reverse=True):
            recorded[size] = capture(body_of(size))
            progress(len(recorded), len(sizes))
        return cls(tuple(sorted(sizes)), tuple(recorded[size] for size in sorted(sizes)))

    def size_for(self, rows: int) -> int | None:
        """The smallest graph that holds so many rows, if one does."""
        place = bisect_left(self.sizes, rows)
        return self.sizes[place] if place < len(self.sizes) else None

    def replay(self, size: int) -> None:
        self.replays[self.sizes.index(size)]()

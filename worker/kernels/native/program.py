"""Tasks in a row, run as one: threads are gathered once for all of them, not once for each.

Waking a thread takes longer than many a task of a small step. Within a program no thread waits for
one that has not come yet: whoever is there takes chunks, and a task begins as soon as nobody is
inside the one before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numba import carray
from torch import Tensor

from worker.kernels.native.memory import longs
from worker.kernels.native.team import Task, recorded_by
from worker.kernels.native.waiting import add_to, call_at, give_way, pause, seen_at

_LINE = 8
"""Tasks begin on cache lines of their own: their counters are written by all threads."""
_PATIENCE = 2000
"""How often a thread looks, some 50 microseconds, before it lets others have its core."""


class Scratch:
    """Memory for what the tasks of programs write, of which one runs at a time.

    It has two banks, which layers take in turns: what a layer writes may be read by itself and by
    the next, and is overwritten by the one after that.
    """

    def __init__(self) -> None:
        self._banks: tuple[list[Tensor], list[Tensor]] = ([], [])

    def take(self, layer: int, place: int, size: int) -> Tensor:
        """[size] bytes: the `place`th piece of a layer. Pieces grow, and stay as they are for
        programs that hold them."""
        bank = self._banks[layer % 2]
        if place == len(bank):
            bank.append(torch.empty(size, dtype=torch.uint8))
        elif len(bank[place]) < size:
            bank[place] = torch.empty(size, dtype=torch.uint8)
        return bank[place]


class Program:
    """Records tasks; `run` runs them, as often as wanted, on the memory that they were recorded
    with, whose contents may have changed."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._layer = self._place = 0
        self._held: list[Tensor] = []
        self._tasks: list[tuple[int, ...]] = []
        self._values = np.empty(0, np.int64)
        self._counters = np.empty(0, np.int64)

    @contextmanager
    def recording(self) -> Iterator[None]:
        with recorded_by(self):
            yield
        self._lay_out()

    def begin_layer(self) -> None:
        """What was made two layers ago is not read from here on."""
        self._layer, self._place = self._layer + 1, 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = math.prod(shape) * dtype.itemsize
        piece = self._scratch.take(self._layer, self._place, size)
        self._place += 1
        self._held.append(piece)
        return piece[:size].view(dtype).view(*shape)

    def add(self, address: int, chunks: int, values: Sequence[int]) -> None:
        """Its function, how many threads are inside, the next chunk, chunks, the task's values."""
        self._tasks.append((address, 0, 0, chunks, *values))

    def run(self) -> None:
        self._values[self._counters] = 0
        _walker().call(self._values.ctypes.data, torch.get_num_threads())

    def _lay_out(self) -> None:
        """One array: how many tasks, the place of each, then the tasks."""
        first = -(-(1 + len(self._tasks)) // _LINE) * _LINE
        sizes = [-(-len(task) // _LINE) * _LINE for task in self._tasks]
        places = first + np.cumsum([0, *sizes])
        # Cache lines begin where the memory does.
        memory = np.zeros(int(places[-1]) + _LINE, np.int64)
        skipped = -memory.ctypes.data // 8 % _LINE
        values = memory[skipped : skipped + int(places[-1])]
        values[0], values[1 : 1 + len(self._tasks)] = len(self._tasks), places[:-1]
        for place, task in zip(places.tolist(), self._tasks, strict=False):
            values[place : place + len(task)] = task
        self._values = values
        self._counters = (places[:-1, None] + [1, 2]).ravel()


@cache
def _walker() -> Task:
    return Task(_walk)


def _walk(values):
    """All tasks in their order; each thread of the team does this."""
    start = carray(values, 1).ctypes.data
    tasks = longs(start, 1)[0]
    places = longs(start + 8, tasks)
    for number in range(tasks):
        task = start + places[number] * 8
        # Who is inside was counted before it took a chunk, so a task whose chunks are all taken,
        # and which nobody is inside of, is done.
        if seen_at(task + 16) < longs(task + 24, 1)[0]:
            add_to(task + 8, 1)
            call_at(longs(task, 1)[0], task + 16)
            add_to(task + 8, -1)
        looked = 0
        while seen_at(task + 8) != 0:
            looked += 1
            if looked < _PATIENCE:
                pause()
            else:
                give_way()

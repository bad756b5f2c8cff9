"""Where a loaded checkpoint ends up, and proof that it arrived: used by every arm alike.

`host`: every tensor in host memory, all at once. `device`: copied into memory that stands for a
device's, allocated and faulted in beforehand, as a device's is.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

_PAGE_BYTES = 4096

Loaded = Iterable[tuple[str, Tensor]]
"""Names and tensors, in the order in which the loader has them."""
Load = Callable[[Path], AbstractContextManager[Loaded]]
"""From the file; the tensors are good for as long as the context is."""


class WrongBytes(RuntimeError):
    """A loader gave something else than what was written."""


class Destination:
    """Takes what a loader gives, under a clock, and checks it afterwards."""

    def __init__(self, expected: Path) -> None:
        """`expected`: a JSON object with the xxh3 of each tensor's bytes, its dtype and shape."""
        self._expected: dict[str, dict[str, Any]] = json.loads(expected.read_text())
        self._device: dict[str, Tensor] = {}

    def prepare(self, kind: str) -> None:
        """Have the memory of a device ready, where that is the destination."""
        if kind == "device" and not self._device:
            self._device = {
                name: torch.zeros(each["shape"], dtype=getattr(torch, each["dtype"])).fill_(1)
                for name, each in self._expected.items()
            }

    def take(self, load: Load, file: Path, kind: str) -> dict[str, float]:
        """Seconds and CPU seconds of one load; every byte has been read when the clock stops.

        Raises:
            WrongBytes: what arrived is not what was written.
        """
        self.prepare(kind)
        with ExitStack() as held:
            cpu_began, began = _cpu_s(), time.perf_counter()
            loaded = held.enter_context(load(file))
            arrived = self._copied(loaded) if kind == "device" else _touched(loaded)
            elapsed_s, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_began
            self._check(arrived)
        return {"seconds": elapsed_s, "cpu_s": cpu_s}

    def _copied(self, loaded: Loaded) -> dict[str, Tensor]:
        names = set()
        for name, tensor in loaded:
            self._device[name].copy_(tensor)
            names.add(name)
        return {name: self._device[name] for name in names}

    def _check(self, arrived: dict[str, Tensor]) -> None:
        if arrived.keys() != self._expected.keys():
            raise WrongBytes(f"{len(arrived)} of {len(self._expected)} tensors arrived")
        for name, tensor in arrived.items():
            if checksum(tensor) != self._expected[name]["xxh3"]:
                raise WrongBytes(f"{name} is not what was written")
        for tensor in self._device.values():
            tensor.fill_(1)  # nothing of this round may pass for the next one's


def checksum(tensor: Tensor) -> str:
    """xxh3 of a tensor's bytes."""
    flat = tensor.contiguous().view(-1).view(torch.uint8)
    return xxhash.xxh3_64_hexdigest(flat.numpy().data)


def _touched(loaded: Loaded) -> dict[str, Tensor]:
    """All tensors, with each of their pages touched: a mapping alone has loaded nothing."""
    tensors = dict(loaded)
    for tensor in tensors.values():
        tensor.view(-1).view(torch.uint8)[::_PAGE_BYTES].max()
    return tensors


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

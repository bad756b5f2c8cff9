"""Weights from host memory to the device, as a start brings them there, against a plain copy from
pinned memory: with and without the checks of a local tier."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from infra.package_index import checksum_of
from infra.safetensors import TensorEntry
from loadtests.benchmarks.gpu.size import Size
from loadtests.benchmarks.report import Row, row
from worker.loader.staged_fill import StagedFill

_TENSORS = 8


class HostWeights:
    """`WeightSource` of bfloat16 matrices that lie in host memory, which is not pinned."""

    quantised = False

    def __init__(self, total_bytes: int, verified: bool = False) -> None:
        rows = max(1, total_bytes // _TENSORS // (2 * 4096))
        self.held = {f"weight.{n}": torch.ones(rows, 4096).bfloat16() for n in range(_TENSORS)}
        self.entries = {
            name: TensorEntry("BF16", tuple(each.shape), (n * each.nbytes, (n + 1) * each.nbytes))
            for n, (name, each) in enumerate(self.held.items())
        }
        self._verified = verified

    @property
    def total_bytes(self) -> int:
        return sum(each.nbytes for each in self.held.values())

    def tensor(self, name: str) -> Tensor:
        held = self.held[name]
        if self._verified:
            checksum_of(held.view(torch.uint8).flatten().numpy().data)
        return held

    def scales(self, _name: str) -> None:
        return None

    def fused(self, _names: Sequence[str]) -> None:
        return None


def rows_of(size: Size, device: torch.device) -> list[Row]:
    """Bytes a second, and the share of what a copy from pinned memory reaches."""
    pinned = torch.ones(size.copy_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    target = torch.empty(size.copy_bytes, dtype=torch.uint8, device=device)
    copies = _seconds(lambda: target.copy_(pinned, non_blocking=True), size.rounds, device)
    ceilings = [size.copy_bytes / seconds / 1e9 for seconds in copies]
    rows = []
    for verified in (False, True):
        source = HostWeights(size.copy_bytes, verified)
        part = {name: torch.empty_like(each, device=device) for name, each in source.held.items()}
        fill = StagedFill(device)
        fills = _seconds(partial(fill, part, source), size.rounds, device)
        rates = [source.total_bytes / seconds / 1e9 for seconds in fills]
        name = "loading.verified" if verified else "loading"
        rows.append(row(f"{name}.vs_pinned_copy", rates, "GB/s", ceilings, goal=0.9, of_ratio=True))
    return rows


def _seconds(work: Callable[[], object], rounds: int, device: torch.device) -> list[float]:
    """Of each round but a first one, by the clock of the host: it is part of the work."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return taken[1:]

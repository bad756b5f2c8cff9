"""Tensors of safetensors files: those of somebody's directory, or of a package of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from control_plane.importer.errors import Corrupt
from control_plane.importer.tensors import BLOCK_BYTES, NUMPY, Rows, TensorKind


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies. One of several slices is [slices, outputs, inputs / slices] there, and
    read as [outputs, inputs]."""

    path: Path
    offset_bytes: int
    dtype: str
    shape: tuple[int, ...]
    """As it is read."""
    slices: int = 1


class StoredTensors:
    """`Tensors` of files."""

    def __init__(self, stored: Mapping[str, StoredTensor]) -> None:
        self._stored = stored
        self.kinds = {name: TensorKind(each.dtype, each.shape) for name, each in stored.items()}

    def rows(self, name: str) -> Iterator[Rows]:
        stored = self._stored[name]
        count, *widths = stored.shape
        width = math.prod(widths)
        row_bytes = width * NUMPY[stored.dtype].itemsize
        step = max(1, BLOCK_BYTES // max(1, row_bytes))
        with stored.path.open("rb") as file:
            for first in range(0, count, step):
                rows = min(step, count - first)
                parts = [
                    _read(
                        file, stored, (part * count + first) * width // stored.slices, rows * width
                    )
                    for part in range(stored.slices)
                ]
                if not widths:
                    yield parts[0]
                else:
                    yield np.hstack([part.reshape(rows, -1) for part in parts])


def _read(file: BinaryIO, stored: StoredTensor, first: int, elements: int) -> Rows:
    """Elements of one slice, `first` being counted from the tensor's beginning."""
    elements //= stored.slices
    file.seek(stored.offset_bytes + first * NUMPY[stored.dtype].itemsize)
    found: Rows = np.fromfile(file, NUMPY[stored.dtype], elements)
    if len(found) != elements:
        raise Corrupt(f"{stored.path.name} shrank while it was read: try again")
    return found

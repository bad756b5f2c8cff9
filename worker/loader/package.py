"""A checkpoint package as tensors: views of its landing, there once their chunks have landed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from infra.package_index import (
    INDEX_FILE,
    CorruptIndex,
    DamagedChunk,
    PackageIndex,
    parse_index,
)
from infra.package_tensors import SCALES, is_padding
from infra.safetensors import WEIGHTS_FILE, CorruptHeader, TensorEntry, parse_header
from worker.loader.landing import Landing
from worker.loader.weight_source import DTYPES
from worker.models.base import ModelError

STALL_LIMIT_S = 600.0
"""So long nothing at all may land before a start is given up: longer than one read of a chunk may
take (`infra.storage.http_ranges`), for on a slow line all of them end at about the same time."""


class Package:
    """`WeightSource` of a landing.

    Raises:
        ModelError: its index and the header of its file contradict each other.
    """

    def __init__(self, landing: Landing, stall_limit_s: float = STALL_LIMIT_S) -> None:
        self.landing = landing
        self._stall_limit_s = stall_limit_s
        index = landing.index
        try:
            header = parse_header(landing.header, index.data_bytes, WEIGHTS_FILE)
            index.check_against(header)
        except (CorruptHeader, CorruptIndex) as error:
            raise ModelError(str(error)) from error
        self._stored = {
            name: entry for name, entry in header.entries.items() if not is_padding(name)
        }
        named = {name: each for name, each in self._stored.items() if not name.endswith(SCALES)}
        aliases = {alias: named[name] for alias, name in index.aliases.items()}
        self.entries = {
            name: self._whole(name, entry) for name, entry in {**named, **aliases}.items()
        }

    @property
    def quantised(self) -> bool:
        return self.landing.index.quantization == "int8"

    def tensor(self, name: str) -> Tensor:
        return self._joined(self.landing.index.aliases.get(name, name))

    def scales(self, name: str) -> Tensor | None:
        scales = self.landing.index.aliases.get(name, name) + SCALES
        return self._joined(scales) if scales in self._stored else None

    def fused(self, names: Sequence[str]) -> Tensor | None:
        own = [self.landing.index.aliases.get(name, name) for name in names]
        entries = [self._stored[name] for name in own]
        together = all(
            one.data_offsets[1] == other.data_offsets[0] for one, other in pairwise(entries)
        )
        kinds = {(entry.dtype, entry.shape[1:]) for entry in entries}
        if not together or len(kinds) > 1 or any(len(entry.shape) != 2 for entry in entries):
            return None
        rows = sum(entry.shape[0] for entry in entries)
        begin, end = entries[0].data_offsets[0], entries[-1].data_offsets[1]
        return self._view(begin, end, entries[0].dtype, (rows, *entries[0].shape[1:]))

    def _whole(self, name: str, entry: TensorEntry) -> TensorEntry:
        """As models know it: not in slices."""
        if self.landing.index.aliases.get(name, name) not in self.landing.index.slices:
            return entry
        slices, outputs, inputs = entry.shape
        return TensorEntry(entry.dtype, (outputs, slices * inputs), entry.data_offsets)

    def _joined(self, name: str) -> Tensor:
        entry = self._stored[name]
        view = self._view(*entry.data_offsets, entry.dtype, entry.shape)
        if name.removesuffix(SCALES) not in self.landing.index.slices:
            return view
        # Slices are of the inputs, which are a row's.
        return view.transpose(0, 1).flatten(1)

    def _view(self, begin: int, end: int, dtype: str, shape: tuple[int, ...]) -> Tensor:
        if begin == end:
            return torch.empty(shape, dtype=DTYPES[dtype])
        memory = self.landing.wait(begin, end, self._stall_limit_s)
        with warnings.catch_warnings():
            # That it cannot be written is what we want: other processes read the same memory.
            warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
            flat = torch.frombuffer(memory, dtype=DTYPES[dtype], count=math.prod(shape))
        return flat.view(shape)


def is_package(directory: Path) -> bool:
    return (directory / INDEX_FILE).exists()


def read_head(directory: Path) -> tuple[PackageIndex, bytes]:
    """The index of a package's directory, and the header of its weights, checked.

    Raises:
        ModelError: they are missing, damaged or not each other's.
    """
    path = directory / INDEX_FILE
    try:
        index = parse_index(path.read_bytes(), str(path))
        with (directory / WEIGHTS_FILE).open("rb") as file:
            header = file.read(index.header_bytes)
        index.check_header(header)
    except OSError as error:
        raise ModelError(f"the package at {directory} cannot be read: {error}") from error
    except (CorruptIndex, DamagedChunk) as error:
        raise ModelError(f"{directory}: {error}") from error
    return index, header

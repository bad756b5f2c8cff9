"""One safetensors file: its header checked before a byte of data is believed, its data mapped."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from worker.models.base import ModelError

MAX_HEADER_BYTES = 100 << 20
"""The format's own limit."""
_LENGTH_BYTES = 8
_METADATA = "__metadata__"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

Natural = Annotated[int, msgspec.Meta(ge=0)]


class Entry(msgspec.Struct, frozen=True):
    """What the header says of one tensor; offsets count from the end of the header."""

    dtype: str
    shape: tuple[Natural, ...]
    data_offsets: tuple[Natural, Natural]

    @property
    def size_bytes(self) -> int:
        return self.data_offsets[1] - self.data_offsets[0]


class SafetensorsFile:
    """A file whose header has been checked: sizes agree, nothing overlaps, nothing is missing.

    Raises:
        ModelError: the file is missing, truncated, or its header lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except FileNotFoundError as error:
            raise ModelError(f"{path} is missing") from error
        except (OSError, ValueError) as error:
            raise self._error(f"cannot be mapped: {error}") from error
        self._data_start = 0
        self.entries = self._read_header()
        self._check_layout()

    def tensor(self, name: str) -> Tensor:
        """The tensor as a view of the mapped file (valid for as long as it is referenced)."""
        entry = self.entries[name]
        dtype = DTYPES[entry.dtype]
        if entry.size_bytes == 0:
            return torch.empty(entry.shape, dtype=dtype)
        flat = torch.frombuffer(
            self._mapped,
            dtype=dtype,
            count=math.prod(entry.shape),
            offset=self._data_start + entry.data_offsets[0],
        )
        return flat.view(entry.shape)

    def _read_header(self) -> dict[str, Entry]:
        if len(self._mapped) < _LENGTH_BYTES:
            raise self._error("is too short to be a safetensors file")
        length = int.from_bytes(self._mapped[:_LENGTH_BYTES], "little")
        if length > min(MAX_HEADER_BYTES, len(self._mapped) - _LENGTH_BYTES):
            raise self._error(f"says its header has {length} bytes, more than it may or can have")
        self._data_start = _LENGTH_BYTES + length
        try:
            header = json.loads(
                self._mapped[_LENGTH_BYTES : self._data_start],
                object_pairs_hook=_without_duplicates,
            )
            if not isinstance(header, dict):
                raise self._error("has a header that is no JSON object")
            header.pop(_METADATA, None)
            return msgspec.convert(header, dict[str, Entry])
        except (ValueError, RecursionError) as error:
            raise self._error(f"has a broken header: {error}") from error

    def _check_layout(self) -> None:
        """Every byte of data belongs to exactly one tensor."""
        position = 0
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1].data_offsets):
            if entry.dtype not in DTYPES:
                raise self._error(
                    f"has tensor {name} in dtype {entry.dtype}, which is not supported"
                )
            begin, end = entry.data_offsets
            expected = math.prod(entry.shape) * DTYPES[entry.dtype].itemsize
            if begin != position or end < begin:
                raise self._error(f"has a gap or an overlap before tensor {name}")
            if end - begin != expected:
                raise self._error(
                    f"gives tensor {name} {end - begin} bytes; its shape {list(entry.shape)} "
                    f"in {entry.dtype} needs {expected}"
                )
            position = end
        data_bytes = len(self._mapped) - self._data_start
        if position != data_bytes:
            raise self._error(
                f"has {data_bytes} bytes of data; its header describes {position} (truncated?)"
            )

    def _error(self, problem: str) -> ModelError:
        return ModelError(f"{self._path} {problem}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a name appears twice")
    return named

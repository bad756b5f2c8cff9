"""One safetensors file, mapped: its tensors are views, once its header has been checked."""

from __future__ import annotations

import math
import mmap
from pathlib import Path

import torch
from torch import Tensor

from infra.safetensors import CorruptHeader, TensorEntry, read_header
from worker.loader.weight_source import DTYPES
from worker.models.base import ModelError


class SafetensorsFile:
    """Raises ModelError where the file is missing, truncated, or its header lies."""

    def __init__(self, path: Path) -> None:
        try:
            header = read_header(path)
            with path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except FileNotFoundError as error:
            raise ModelError(f"{path} is missing") from error
        except CorruptHeader as error:
            raise ModelError(f"{path.parent}: {error}") from error
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be mapped: {error}") from error
        self._data_start = header.data_start
        self.entries: dict[str, TensorEntry] = header.entries
        for name, entry in self.entries.items():
            if entry.dtype not in DTYPES:
                raise ModelError(f"{path}: tensor {name!r} is {entry.dtype}, which is not run")

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

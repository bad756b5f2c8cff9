"""The tensors of a source by their Hugging Face names: what they are, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 4 << 20
"""About so much of a tensor is read at once."""

Rows = npt.NDArray[Any]
"""Some rows of a tensor (elements, where it is a vector)."""

NUMPY: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    # numpy has no bfloat16: these are its bits.
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
}
"""What rows of each dtype of a safetensors header are held in."""


@dataclass(frozen=True)
class TensorKind:
    dtype: str
    """As a safetensors header names it; one of `NUMPY`."""
    shape: tuple[int, ...]


class Tensors(Protocol):
    @property
    def kinds(self) -> Mapping[str, TensorKind]: ...

    def rows(self, name: str) -> Iterator[Rows]:
        """All rows of a tensor in order, about `BLOCK_BYTES` at a time.

        Raises:
            Corrupt: the source is not what its header said.
        """

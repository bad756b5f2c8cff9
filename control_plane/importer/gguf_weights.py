"""GGUF tensors as float32 tensors of a checkpoint: dequantised losslessly, a few MB at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from gguf import dequantize

from control_plane.importer.architectures.base import GgufArchitecture
from control_plane.importer.errors import Corrupt
from control_plane.importer.gguf_header import GgufHeader, GgufTensor
from control_plane.importer.tensors import BLOCK_BYTES, Rows, TensorKind

_ELEMENT_BYTES = 4

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Planned:
    name: str
    tensor: GgufTensor
    rotary_rows: int


class GgufWeights:
    """`Tensors` of a GGUF file.

    Raises:
        Corrupt: a tensor is missing, superfluous, or of another shape than the config says.
    """

    def __init__(
        self,
        path: Path,
        header: GgufHeader,
        architecture: GgufArchitecture,
        config: Mapping[str, Any],
    ) -> None:
        self._path = path
        expected = architecture.tensors(config)
        planned: dict[str, _Planned] = {}
        for tensor in header.tensors:
            plan = architecture.gguf_plan(tensor.name, config)
            if plan is None or plan.name not in expected:
                raise Corrupt(
                    f"{path.name}: tensor {tensor.name!r} is not part of {architecture.hf_name}: "
                    "import the Hugging Face directory instead"
                )
            if tensor.shape != expected[plan.name]:
                raise Corrupt(
                    f"{path.name}: tensor {tensor.name!r} has shape {tensor.shape}, "
                    f"its metadata asks for {expected[plan.name]}"
                )
            planned[plan.name] = _Planned(plan.name, tensor, plan.rotary_rows)
        missing = expected.keys() - planned.keys()
        if missing:
            raise Corrupt(
                f"{path.name}: {len(missing)} tensors are missing, such as {min(missing)!r}"
            )
        self._planned = planned
        self.kinds = {name: TensorKind("F32", expected[name]) for name in expected}

    @property
    def parameters(self) -> int:
        return sum(math.prod(kind.shape) for kind in self.kinds.values())

    def rows(self, name: str) -> Iterator[Rows]:
        planned = self._planned[name]
        with self._path.open("rb") as file:
            for rows in _dequantised(file, planned):
                yield rows if len(planned.tensor.shape) > 1 else rows.reshape(-1)


def _dequantised(file: BinaryIO, planned: _Planned) -> Iterator[Floats]:
    tensor, step = planned.tensor, planned.rotary_rows or 1
    step *= max(1, BLOCK_BYTES // (_ELEMENT_BYTES * tensor.shape[-1] * step))
    file.seek(tensor.offset_bytes)
    for start in range(0, tensor.rows, step):
        count = min(step, tensor.rows - start)
        body = file.read(count * tensor.row_bytes)
        if len(body) != count * tensor.row_bytes:
            raise Corrupt(f"{planned.name}: the file shrank while it was read")
        packed = np.frombuffer(body, dtype=np.uint8).reshape(count, tensor.row_bytes)
        with np.errstate(all="ignore"):
            rows: Floats = dequantize(packed, tensor.kind)
        yield _halves(rows, planned.rotary_rows) if planned.rotary_rows else rows


def _halves(rows: Floats, rotary_rows: int) -> Floats:
    """Per head: (pair, half) order, as llama.cpp stores it, to (half, pair) order."""
    pairs = rows.reshape(-1, rotary_rows // 2, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)

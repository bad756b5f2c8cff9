"""What the importer must know of an architecture, and how its configuration values are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from control_plane.importer.errors import Corrupt

LIMIT = 1 << 31
"""No size in a configuration reaches this."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorGroup:
    """What one step of a forward pass reads: the embedding, a layer, the head."""

    name: str
    shapes: Mapping[str, Shape]
    """In the order of use; what is multiplied at once lies next to each other."""


@dataclass(frozen=True)
class GgufPlan:
    """How one GGUF tensor becomes one tensor of the checkpoint."""

    name: str
    """Its Hugging Face name."""
    rotary_rows: int = 0
    """Rows per head where GGUF interleaves the two rotary halves; 0: rows stay in order."""


class Architecture(Protocol):
    hf_name: str

    def config(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A config.json with every value present that an engine needs.

        Raises:
            ImportRefused: a value is missing, impossible or not supported.
        """

    def groups(self, config: Mapping[str, Any]) -> list[TensorGroup]:
        """Every tensor of a checkpoint with this (checked) config, in the order of use."""

    def tensors(self, config: Mapping[str, Any]) -> dict[str, Shape]:
        """Their names and shapes."""

    def aliases(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Names that other tensors have besides their own (tied weights)."""

    def products(self, config: Mapping[str, Any]) -> frozenset[str]:
        """The matrices that are multiplied by: quantisation is for these."""

    def products_by_inputs(self, config: Mapping[str, Any]) -> frozenset[str]:
        """The matrices that tensor parallelism cuts along their inputs (row-parallel in
        Megatron-LM, arXiv 1909.08053); all others it cuts along their outputs, or not at all."""

    def is_ignored(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether checkpoints carry this tensor though nothing reads it."""


class GgufArchitecture(Architecture, Protocol):
    """One that is read from GGUF files, too."""

    gguf_name: str

    def config_from_gguf(
        self, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Any]:
        """The same from GGUF metadata and tensor shapes (by GGUF name)."""

    def gguf_plan(self, name: str, config: Mapping[str, Any]) -> GgufPlan | None:
        """What a GGUF tensor becomes; None where the architecture has no such tensor."""


def count(values: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A positive integer.

    Raises:
        Corrupt: it is missing without a default, or something else.
    """
    value = values.get(key)
    if value is None:
        value = default
    if type(value) is not int or not 0 < value < LIMIT:
        raise Corrupt(f"the model's configuration needs a positive integer {key}, it has {value!r}")
    return value


def real(values: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A positive, finite number."""
    value: Any = values.get(key)
    if value is None:
        value = default
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise Corrupt(f"the model's configuration needs a positive number {key}, it has {value!r}")
    return float(value)


def flag(values: Mapping[str, Any], key: str, default: bool) -> bool:
    """true or false."""
    value = values.get(key)
    if value is None:
        return default
    if type(value) is not bool:
        raise Corrupt(f"the model's configuration needs true or false in {key}, it has {value!r}")
    return value

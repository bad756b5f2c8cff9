"""What the importer must know of an architecture, and how its configuration values are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from control_plane.importer.errors import Corrupt

LIMIT = 1 << 31
"""No size in a configuration reaches this."""


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

    def tensors(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of a checkpoint with this (checked) config."""

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

"""What every kind of source becomes before it is packed: config, text and tensors, all checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.importer.architectures.base import Architecture
from control_plane.importer.tensors import Tensors
from infra.wire import TextAssets


@dataclass(frozen=True)
class Checkpoint:
    """A source that has been read and found sound; only its weights are still to be copied."""

    architecture: Architecture
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    text: TextAssets
    tensors: Tensors
    parameters: int

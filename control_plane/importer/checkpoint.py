"""What every kind of source becomes before it is stored: config, text and weights, all checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.wire import TextAssets


@dataclass(frozen=True)
class WeightFile:
    name: str
    size_bytes: int
    chunks: Callable[[], Iterator[bytes]]
    ours: Path | None = None
    """The file itself, where it may be taken instead of copied."""


@dataclass(frozen=True)
class Checkpoint:
    """A source that has been read and found sound; only its weights are still to be copied."""

    architecture: str
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    text: TextAssets
    weights: list[WeightFile]
    index: Mapping[str, Any] | None
    """The shard index, where the weights are in more than one file."""
    parameters: int

"""A model that a replica has asked for, for as long as it wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HeldModel:
    folder: Path
    """What an engine reads that is not weights, and with `landing` empty the weights too."""
    landing: str
    """Where the weights land (`worker.loader.landing.Landing.open`), or are by now."""
    release: Callable[[], None]
    """To be called once, when no engine uses it any more."""
    bytes_by_tier: Callable[[], dict[str, int]]
    """Where its weights have come from so far; nothing where files were opened in place."""
    checking_share: Callable[[], float] = lambda: 0.0
    """Of the time that bringing them took, what went into checking them."""

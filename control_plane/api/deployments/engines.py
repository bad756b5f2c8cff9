"""The engines that are installed, by name; none of them is imported here."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points


@lru_cache(maxsize=1)
def engine_names() -> list[str]:
    """Names in the entry-point group `tamer.engines`, sorted."""
    return sorted({each.name for each in entry_points(group="tamer.engines")})

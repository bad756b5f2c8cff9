"""The cores that every arm may use."""

from __future__ import annotations

import os

THREADS = 2


def cores() -> list[int]:
    """As many as there are threads, of those that we may use."""
    return sorted(os.sched_getaffinity(0))[:THREADS]

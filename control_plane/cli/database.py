"""A look at the store from a command, by a process of its own: commands load no SQLAlchemy."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

_MODULE = "control_plane.store.reach"
_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    usable: bool
    said: str
    """What the store is, or why it cannot be used and what to do."""


def ask_store() -> StoreAnswer:
    """The store as the settings of this process's environment name it."""
    try:
        asked = subprocess.run(
            [sys.executable, "-m", _MODULE],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return StoreAnswer(False, f"TAMER_DATABASE_URL: no answer within {_LIMIT_S:.0f} s")
    lines = (asked.stdout.strip() or asked.stderr.strip()).splitlines()
    return StoreAnswer(asked.returncode == 0, lines[-1] if lines else "it said nothing")

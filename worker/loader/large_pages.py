"""Whether this system gives large pages to memory that processes share.

A disk writes into large pages more than twice as fast: with small ones it is the bookkeeping of
pages that a direct read waits for. Most systems say `never` until their owner says otherwise.
"""

from __future__ import annotations

from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
_GIVEN = ("always", "within_size", "advise", "force")


def shared_are_large(setting: Path = SETTING) -> bool:
    """For memory that asks for them, as an arena does; False where the system does not say."""
    try:
        said = setting.read_text()
    except OSError:
        return False
    return any(f"[{each}]" in said for each in _GIVEN)

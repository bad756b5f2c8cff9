"""Host memory: what may still be taken, and what a process holds. Linux says both."""

from __future__ import annotations

import os
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
_MACHINE = Path("/proc/meminfo")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def available_bytes(group: Path = GROUP) -> int:
    """Free memory of the machine, or of our control group where that is less.

    Raises:
        OSError: the system does not say.
    """
    return min([_field(_MACHINE, "MemAvailable"), *_group_bytes(group)])


def held_bytes(pid: int) -> int:
    """What a process holds now (its resident set); what it shares with others is in it. 0 where it
    is gone, or the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * _PAGE_BYTES


def _field(path: Path, wanted: str) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == wanted:
            return int(value.split()[0]) << 10
    raise OSError(f"{path} does not say {wanted}")


def _group_bytes(group: Path) -> list[int]:
    """Control groups v2; a machine without them, or without a limit, gives nothing."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except FileNotFoundError:
        return []
    return [] if limit == "max" else [max(0, int(limit) - used)]

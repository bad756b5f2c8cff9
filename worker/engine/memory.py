"""How much memory this process may still take, as the machine and its control groups say."""

from __future__ import annotations

from pathlib import Path

import torch

from worker.engine.base import EngineError

GROUP = Path("/sys/fs/cgroup")


def available_bytes(group: Path = GROUP) -> int:
    """Free memory of the machine, or of our control group where that is less."""
    return min([_machine_bytes(), *_group_bytes(group)])


def require_bytes(needed: int, what: str, device: torch.device | None = None) -> None:
    """Raises `EngineError` where `needed` bytes are not there, on a GPU if `device` is one."""
    on_gpu = device is not None and device.type == "cuda"
    available = torch.cuda.mem_get_info(device)[0] if on_gpu else available_bytes()
    if needed > available:
        raise EngineError(
            f"{what} needs {needed / 2**20:.0f} MiB; {available / 2**20:.0f} MiB are available"
        )


def _machine_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    raise EngineError("/proc/meminfo does not say what memory is available")


def _group_bytes(group: Path) -> list[int]:
    """Control groups v2; a machine without them, or without a limit, gives nothing."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except FileNotFoundError:
        return []
    return [] if limit == "max" else [max(0, int(limit) - used)]

"""Whether there is memory for what an engine is about to take."""

from __future__ import annotations

import torch

from infra.host_memory import available_bytes
from worker.engine.base import EngineError


def require_bytes(needed: int, what: str, device: torch.device | None = None) -> None:
    """Raises `EngineError` where `needed` bytes are not there, on a GPU if `device` is one."""
    on_gpu = device is not None and device.type == "cuda"
    available = torch.cuda.mem_get_info(device)[0] if on_gpu else available_bytes()
    if needed > available:
        raise EngineError(
            f"{what} needs {needed / 2**20:.0f} MiB; {available / 2**20:.0f} MiB are available"
        )

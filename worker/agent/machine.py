"""What this machine has to offer."""

from __future__ import annotations

import os
import secrets
import socket

from infra.build import build_name
from infra.gpus import gpu_count
from infra.settings import Settings
from infra.wire import WIRE_VERSION, JoinRequest

_MOST_THREADS = 8


def devices(slots: int) -> list[str]:
    """One name for each device slot; `slots` of 0 means one for each GPU, or one of the CPU."""
    gpus = [f"cuda:{i}" for i in range(gpu_count())]
    if slots == 0:
        return gpus or ["cpu"]
    return [gpus[i] if i < len(gpus) else "cpu" for i in range(slots)]


def engine_threads(settings: Settings, slots: int) -> int:
    """CPU threads for each of so many engines; one core is left to what feeds them: threads that
    wait for a core which somebody else has make every step wait."""
    if settings.torch_threads:
        return settings.torch_threads
    return max(1, min(_MOST_THREADS, (_cores() - 1) // slots))


def join_request(
    settings: Settings, token: str, credential: str = "", name: str = ""
) -> JoinRequest:
    """One for each process: its nonce says that it is the same one who asks again."""
    return JoinRequest(
        token=token,
        wire_version=WIRE_VERSION,
        build=build_name(),
        hostname=socket.gethostname(),
        devices=devices(settings.slots),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cpu_count=_cores(),
        nonce=secrets.token_hex(16),
        credential=credential,
        name=name,
    )


def _cores() -> int:
    """Cores that we may use, which in a container can be fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1

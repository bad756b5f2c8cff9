"""The agent's one clock for leases."""

from __future__ import annotations

import time

_BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", None)


def lease_clock_s() -> float:
    """Seconds that never go back and, on Linux, go on while the machine is suspended: a lease that
    ran out in a machine's sleep must be seen as run out when it wakes."""
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)

"""Children that never outlive us: started in a way that the kernel ends them when we die."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent(signal_number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """A `preexec_fn` that asks the kernel to send the child `signal_number` when we are gone.

    Even after SIGKILL nothing stays behind. None where the kernel is not Linux: there a child ends
    when it notices that its socket or pipe to us has closed. Start the child from the main thread:
    Linux ties the signal to the thread that forked.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and the call above
            os._exit(1)

    return ask_kernel

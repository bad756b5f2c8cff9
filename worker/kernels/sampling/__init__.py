"""The choice of the next token."""

from worker.kernels.device import by_device
from worker.kernels.sampling import cpu
from worker.kernels.sampling.draw import (
    FORBIDDEN,
    LEAST_TEMPERATURE,
    NOT_FINITE,
    NOTHING_ALLOWED,
    Draw,
)

__all__ = ["FORBIDDEN", "LEAST_TEMPERATURE", "NOTHING_ALLOWED", "NOT_FINITE", "Draw", "choose"]

choose = by_device(cpu.choose)

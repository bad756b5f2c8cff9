"""How functions inside a kernel are compiled."""

from __future__ import annotations

from numba import njit

compiled = njit(error_model="numpy")
"""Division by zero gives infinity, not an exception, whose test would keep loops from vectors."""

compiled_fast = njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
"""Sums may also be taken in vectors. Their order follows from their length, never from other rows;
what is not a number stays one."""

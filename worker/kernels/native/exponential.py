"""e^x without a vector library: the same bits for an element wherever it stands in an array."""

from __future__ import annotations

import math

import numpy as np

from worker.kernels.native.compiled import compiled_fast
from worker.kernels.native.memory import as_float

LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)
LOG2_E = np.float32(math.log2(math.e))
SERIES = tuple(np.float32(math.log(2) ** power / math.factorial(power)) for power in range(1, 7))
_C1, _C2, _C3, _C4, _C5, _C6 = SERIES


@compiled_fast
def exponential(value):
    """e^value, to 3e-7 of itself: a power of two times a polynomial; below -87 it is e^-87."""
    bounded = LOWEST if value < LOWEST else (HIGHEST if value > HIGHEST else value)
    turns = bounded * LOG2_E
    whole = np.rint(turns)
    part = turns - whole
    series = _C4 + part * (_C5 + part * _C6)
    series = np.float32(1) + part * (_C1 + part * (_C2 + part * (_C3 + part * series)))
    return series * as_float(np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)))

"""e^x without a vector library: the same bits for an element wherever it stands in an array."""

from __future__ import annotations

import math

import numpy as np

from worker.kernels.native.compiled import compiled_fast
from worker.kernels.native.memory import as_float

_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_LOG2_E = np.float32(math.log2(math.e))
_C1, _C2, _C3, _C4, _C5, _C6 = (
    np.float32(math.log(2) ** power / math.factorial(power)) for power in range(1, 7)
)


@compiled_fast
def exponential(value):
    """e^value, to 3e-7 of itself: a power of two times a polynomial; below -87 it is e^-87."""
    bounded = _LOWEST if value < _LOWEST else (_HIGHEST if value > _HIGHEST else value)
    turns = bounded * _LOG2_E
    whole = np.rint(turns)
    part = turns - whole
    series = _C4 + part * (_C5 + part * _C6)
    series = np.float32(1) + part * (_C1 + part * (_C2 + part * (_C3 + part * series)))
    return series * as_float(np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)))

"""Weights in int8 with a scale for each group of inputs.

The same numbers, bit for bit, as `quantise_rows` of `worker/kernels/int8_linear/reference.py` gives
for groups of 64: which of the two sides quantised must make no difference to an answer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from control_plane.importer.packing.floats import Floats
from infra.package_tensors import SCALE_GROUP

_LARGEST = np.float32(127)

Values = npt.NDArray[np.int8]


def quantised(weight: Floats) -> tuple[Values, Floats]:
    """[outputs, inputs] -> int8 of the same shape, and [outputs, groups of inputs] scales. The last
    group may be shorter."""
    outputs, inputs = weight.shape
    padding = -inputs % SCALE_GROUP
    padded = np.pad(weight, ((0, 0), (0, padding))) if padding else weight
    groups = padded.reshape(-1, SCALE_GROUP)
    with np.errstate(all="ignore"):  # what is not finite is carried through, as the reference does
        scales = np.abs(groups).max(axis=1) / _LARGEST
        inverse = np.where(scales > 0, 1 / scales, np.float32(0))
        scaled = groups * inverse[:, None]
    np.rint(scaled, out=scaled)
    np.nan_to_num(scaled, copy=False)
    np.clip(scaled, -_LARGEST, _LARGEST, out=scaled)
    values = scaled.astype(np.int8).reshape(outputs, -1)[:, :inputs]
    return values, scales.reshape(outputs, -1)

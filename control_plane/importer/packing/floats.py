"""Conversions between the float dtypes of checkpoints, without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from control_plane.importer.errors import Unsupported
from control_plane.importer.tensors import Rows

Floats = npt.NDArray[np.float32]
_NAN = np.uint16(0x7FC0)


def widened(rows: Rows, dtype: str) -> Floats:
    """Rows of F32, F16 or BF16 (as bits) in float32; nothing is lost."""
    if dtype == "BF16":
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32, copy=False)


def converted(rows: Rows, source: str, target: str, name: str) -> Rows:
    """Rounded to nearest, ties to even, as torch does.

    Raises:
        Unsupported: a number of tensor `name` is too large for `target`.
    """
    if source == target:
        return rows
    wide = widened(rows, source)
    if target == "F32":
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float16) if target == "F16" else _bfloat16(wide)
    if bool((np.isfinite(wide) & ~np.isfinite(widened(narrow, target))).any()):
        raise Unsupported(
            f"tensor {name!r} has numbers beyond {target}: choose bfloat16 or float32"
        )
    return narrow


def _bfloat16(wide: Floats) -> npt.NDArray[np.uint16]:
    bits = np.ascontiguousarray(wide).view(np.uint32)
    # Half of the last place that stays, less one where that place is even.
    rounded = bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))
    return np.where(np.isnan(wide), _NAN, (rounded >> 16).astype(np.uint16))

"""The bytes of a package's data, made of a source's tensors as they are read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from control_plane.importer.packing.floats import converted, widened
from control_plane.importer.packing.int8 import quantised
from control_plane.importer.packing.layout import Layout, Origin, Placed
from control_plane.importer.tensors import Rows, Tensors


class Conversion:
    """Holds a few MiB at a time, and besides them one tensor that is cut into slices, and the
    scales of matrices that stand together."""

    def __init__(self, layout: Layout, tensors: Tensors) -> None:
        self._layout = layout
        self._tensors = tensors
        self._scales: dict[str, list[Rows]] = {}

    def pieces(self) -> Iterator[memoryview]:
        """All of the data, in order. Raises ImportRefused."""
        for placed in self._layout.placed:
            for rows in self._rows(placed):
                yield np.ascontiguousarray(rows).data.cast("B")

    def _rows(self, placed: Placed) -> Iterator[Rows]:
        if placed.origin is Origin.PADDING:
            return iter([np.zeros(placed.shape, np.uint8)])
        made = self._made(placed)
        return _cut(made, placed.slices) if placed.slices > 1 else made

    def _made(self, placed: Placed) -> Iterator[Rows]:
        if placed.origin is Origin.SCALES:
            yield from self._scales.pop(placed.source)
            return
        dtype = self._tensors.kinds[placed.source].dtype
        for rows in self._tensors.rows(placed.source):
            if placed.origin is Origin.QUANTISED:
                values, scales = quantised(widened(rows, dtype))
                self._scales.setdefault(placed.source, []).append(scales)
                yield values
            else:
                yield converted(rows, dtype, placed.dtype, placed.source)


def _cut(rows: Iterator[Rows], slices: int) -> Iterator[Rows]:
    whole = np.concatenate(list(rows))
    return iter(np.split(whole, slices, axis=1))

"""What lies where in a package (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from control_plane.importer.architectures.base import Architecture, TensorGroup
from control_plane.importer.errors import Unsupported
from control_plane.importer.packing.request import DTYPES, Packing, Quantization
from control_plane.importer.tensors import TensorKind
from infra.package_index import BLOCK_BYTES, LayerGroup
from infra.package_tensors import ALIGNMENT_BYTES, PADDING, PADDING_END, SCALE_GROUP, SCALES
from infra.safetensors import DTYPE_BYTES, TensorEntry, encode_header


class Origin(Enum):
    """Where the bytes of a tensor come from."""

    SOURCE = "source"
    """A tensor of the source, converted where its dtype is another."""
    QUANTISED = "quantised"
    SCALES = "scales"
    """What quantising a tensor of the source gives besides its values."""
    PADDING = "padding"


@dataclass(frozen=True)
class Placed:
    """One tensor of the package."""

    name: str
    origin: Origin
    dtype: str
    shape: tuple[int, ...]
    source: str = ""
    """The tensor of the source that it is made of."""
    slices: int = 1
    begin: int = 0
    """In the data, in bytes."""

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]

    @property
    def end(self) -> int:
        return self.begin + self.size_bytes


@dataclass
class Layout:
    quantization: Quantization
    aliases: dict[str, str]
    placed: list[Placed] = field(default_factory=list)
    """In the order of their bytes, with nothing between them."""
    groups: list[LayerGroup] = field(default_factory=list)

    @property
    def data_bytes(self) -> int:
        return self.placed[-1].end

    @property
    def slices(self) -> dict[str, int]:
        """Of the tensors that are cut; their scales are cut alike."""
        return {
            each.name: each.slices
            for each in self.placed
            if each.slices > 1 and not each.name.endswith(SCALES)
        }

    def header(self) -> bytes:
        entries = {
            each.name: TensorEntry(each.dtype, each.shape, (each.begin, each.end))
            for each in self.placed
        }
        return encode_header(entries, BLOCK_BYTES)


def plan_layout(
    architecture: Architecture,
    config: Mapping[str, Any],
    source: Mapping[str, TensorKind],
    packing: Packing,
) -> Layout:
    """Lay the tensors of a source out in the order in which a forward pass reads them.

    Raises:
        Unsupported: what is asked for cannot be made of this source.
    """
    quantised = any(kind.dtype == "I8" for kind in source.values())
    if quantised and packing.quantization == "none":
        raise Unsupported("the weights are int8 already: import the model again to have them whole")
    layout = Layout(
        "int8" if quantised or packing.quantization == "int8" else "none",
        architecture.aliases(config),
    )
    choice = _Choice(
        source,
        packing,
        architecture.products(config) if layout.quantization == "int8" else frozenset(),
        architecture.products_by_inputs(config),
    )
    for group in architecture.groups(config):
        _place_group(layout, group, choice)
    return layout


@dataclass(frozen=True)
class _Choice:
    source: Mapping[str, TensorKind]
    packing: Packing
    quantised: frozenset[str]
    by_inputs: frozenset[str]

    def tensors(self, group: TensorGroup) -> Iterator[Placed]:
        """Without their places. Scales follow the last of the matrices that stand together, so
        that these stay together (query, key and value; gate and up)."""
        scales: list[Placed] = []
        for name in group.shapes:
            if name not in self.quantised:
                yield from scales
                scales.clear()
                yield self._plain(name)
                continue
            values, its_scales = self._product(name)
            yield values
            scales.append(its_scales)
        yield from scales

    def _plain(self, name: str) -> Placed:
        kind, dtype = self.source[name], self.packing.dtype
        placed = Placed(
            name, Origin.SOURCE, DTYPES[dtype] if dtype else kind.dtype, kind.shape, name
        )
        return self._cut(placed, name)

    def _product(self, name: str) -> tuple[Placed, Placed]:
        kind, scales = self.source[name], name + SCALES
        groups = (kind.shape[0], -(-kind.shape[1] // SCALE_GROUP))
        made = (
            Placed(name, Origin.QUANTISED, "I8", kind.shape, name),
            Placed(scales, Origin.SCALES, "F32", groups, name),
        )
        if kind.dtype == "I8":
            made = (
                replace(made[0], origin=Origin.SOURCE),
                replace(made[1], origin=Origin.SOURCE, source=scales),
            )
        return self._cut(made[0], name, SCALE_GROUP), self._cut(made[1], name)

    def _cut(self, placed: Placed, name: str, multiple: int = 1) -> Placed:
        slices = self.packing.slices or 1
        if slices == 1 or name not in self.by_inputs:
            return placed
        outputs, inputs = placed.shape
        if inputs % (slices * multiple):
            whole = f" of whole groups of {multiple}" if multiple > 1 else ""
            raise Unsupported(
                f"tensor {placed.name!r} has {inputs} inputs, which are not {slices} slices"
                f"{whole}: choose another number of slices"
            )
        return replace(placed, shape=(slices, outputs, inputs // slices), slices=slices)


def _place_group(layout: Layout, group: TensorGroup, choice: _Choice) -> None:
    begin = _end(layout.placed)
    for tensor in choice.tensors(group):
        _pad(layout.placed, ALIGNMENT_BYTES)
        layout.placed.append(replace(tensor, begin=_end(layout.placed)))
    _pad(layout.placed, BLOCK_BYTES)
    layout.groups.append(LayerGroup(group.name, begin, _end(layout.placed)))


def _pad(placed: list[Placed], multiple: int) -> None:
    end = _end(placed)
    if missing := -end % multiple:
        number = sum(each.origin is Origin.PADDING for each in placed)
        name = f"{PADDING}{number}{PADDING_END}"
        placed.append(Placed(name, Origin.PADDING, "U8", (missing,), begin=end))


def _end(placed: Sequence[Placed]) -> int:
    return placed[-1].end if placed else 0

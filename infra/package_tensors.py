"""The tensors of a checkpoint package: how they are named and aligned, and which there can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.safetensors import Header, TensorEntry

if TYPE_CHECKING:
    from infra.package_index import PackageIndex

ALIGNMENT_BYTES = 64
"""What each tensor begins on."""
PADDING = "__padding__."
"""Begins the names of the tensors that fill gaps, which the format does not allow: nobody's."""
PADDING_END = ".rotary_emb.inv_freq"
"""Ends them: what transformers and vLLM drop in silence, since old checkpoints carry it. vLLM
refuses to load a file with any other name that it does not know."""
SCALES = ".scales"
"""Ends the names of the scales of int8 tensors."""
SCALE_GROUP = 64
"""Inputs that share a scale."""
INT8_CONFIG = {"format": "tamer_int8"}
"""`quantization_config` in the config.json of an int8 package: one that does not name a method is
refused by transformers, which would take int8 values for weights."""


def contradictions(index: PackageIndex, header: Header) -> Iterator[str]:
    """What an index and a (checked) header say differently of one file."""
    if header.data_start != index.header_bytes:
        yield f"the data begins at {header.data_start}, not at {index.header_bytes}"
    described = max((entry.data_offsets[1] for entry in header.entries.values()), default=0)
    if described != index.data_bytes:
        yield f"the header describes {described} bytes, the index {index.data_bytes}"
    yield from _misplaced(index, header)
    for alias, name in index.aliases.items():
        if alias in header.entries or name not in header.entries or is_padding(name):
            yield f"{alias!r} cannot be another name of {name!r}"
    for name, slices in index.slices.items():
        entry = header.entries.get(name)
        if entry is None or len(entry.shape) != 3 or entry.shape[0] != slices:
            yield f"tensor {name!r} is not {slices} slices"
    for name, entry in header.entries.items():
        yield from _wrong_kind(index, header, name, entry)


def _misplaced(index: PackageIndex, header: Header) -> Iterator[str]:
    """Tensors that begin where no view can, or that lie in two groups."""
    groups = iter(index.groups)
    group = next(groups, None)
    for name, entry in header.entries.items():
        begin, end = entry.data_offsets
        while group is not None and group.end <= begin < end:
            group = next(groups, None)
        if group is None or not group.begin <= begin <= end <= group.end:
            yield f"tensor {name!r} lies in no group, or in two"
            return
        if begin % ALIGNMENT_BYTES and not is_padding(name):
            yield f"tensor {name!r} begins at {begin}, which is no multiple of {ALIGNMENT_BYTES}"


def _wrong_kind(
    index: PackageIndex, header: Header, name: str, entry: TensorEntry
) -> Iterator[str]:
    """A tensor of a dtype that it cannot have here, or int8 values without their scales."""
    values = header.entries.get(name.removesuffix(SCALES)) if name.endswith(SCALES) else None
    if is_padding(name):
        allowed: tuple[str, ...] = ("U8",)
    elif name.endswith(SCALES):
        allowed = ("F32",)
        if values is None or values.dtype != "I8":
            yield f"the scales {name!r} belong to no int8 tensor"
    else:
        allowed = ("F32", "F16", "BF16", *(("I8",) if index.quantization == "int8" else ()))
    if entry.dtype not in allowed:
        yield f"tensor {name!r} is {entry.dtype}, which it cannot be"
    if entry.dtype == "I8":
        if len(entry.shape) != (3 if name in index.slices else 2):
            yield f"tensor {name!r} has {len(entry.shape)} dimensions, which no product has"
            return
        scales = header.entries.get(name + SCALES)
        groups = (*entry.shape[:-1], -(-entry.shape[-1] // SCALE_GROUP))
        if scales is None or scales.shape != groups:
            yield f"tensor {name!r} has no scales of shape {list(groups)}"


def is_padding(name: str) -> bool:
    """Whether nobody reads this tensor."""
    return name.startswith(PADDING)

"""The safetensors format: a header that is checked before it is believed, and the one we write.

Layout: 8 bytes little-endian header length, a JSON header, then the tensors, back to back: every
byte of data belongs to exactly one tensor. Nothing in it is ever executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""Hugging Face's names: one file, or shards and the index that tells which tensor is where."""
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference implementation."""
_METADATA = "__metadata__"

DTYPE_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}

Natural = Annotated[int, msgspec.Meta(ge=0)]


class CorruptHeader(ValueError):
    """The header does not describe exactly the bytes that follow it."""


class TensorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the header says of one tensor; offsets count from the end of the header."""

    dtype: str
    shape: tuple[Natural, ...]
    data_offsets: tuple[Natural, Natural]

    @property
    def size_bytes(self) -> int:
        return self.data_offsets[1] - self.data_offsets[0]


class Header(msgspec.Struct, frozen=True):
    entries: dict[str, TensorEntry]
    """In the order of their bytes."""
    data_start: int
    """Where in the file offset 0 lies."""


def read_header(path: Path) -> Header:
    """Read and check a file's header; reads no tensor, and no more than the file has.

    Raises:
        CorruptHeader: the file is truncated or its header lies.
        OSError: the file cannot be read.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        _check_length(path.name, length, file_bytes)
        entries = _parse(path.name, file.read(length))
    data_start = LENGTH_BYTES + length
    _check_layout(path.name, entries, file_bytes - data_start)
    return Header(entries, data_start)


def parse_header(head: bytes, data_bytes: int, file: str) -> Header:
    """The same from the bytes before the data, of which `data_bytes` follow; errors name `file`.

    Raises:
        CorruptHeader: the header lies, or is not all of these bytes.
    """
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    _check_length(file, length, len(head))
    if LENGTH_BYTES + length != len(head):
        raise CorruptHeader(f"{file}: a header of {length} bytes lies in {len(head)}")
    entries = _parse(file, head[LENGTH_BYTES:])
    _check_layout(file, entries, data_bytes)
    return Header(entries, len(head))


def encode_header(entries: Mapping[str, TensorEntry], multiple: int = LENGTH_BYTES) -> bytes:
    """The bytes before the data of a file with these tensors; they are a multiple of `multiple`.

    The format allows spaces behind the header's JSON for that.
    """
    # transformers loads a file only where its metadata names a framework.
    header: dict[str, Any] = {_METADATA: {"format": "pt"}, **msgspec.to_builtins(entries)}
    body = msgspec.json.encode(header)
    body += b" " * (-(LENGTH_BYTES + len(body)) % multiple)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def _check_length(file: str, length: int, file_bytes: int) -> None:
    if file_bytes < LENGTH_BYTES or length > min(file_bytes - LENGTH_BYTES, MAX_HEADER_BYTES):
        raise CorruptHeader(
            f"{file}: the header claims {length} bytes in a file of {file_bytes}: "
            "truncated or not safetensors, fetch it again"
        )


def _parse(file: str, body: bytes) -> dict[str, TensorEntry]:
    try:
        # msgspec would keep the last of two equal names in silence; which one is meant?
        header = json.loads(body, object_pairs_hook=_without_duplicates)
        if not isinstance(header, dict):
            raise CorruptHeader(f"{file}: the header is no JSON object")
        header.pop(_METADATA, None)
        entries = msgspec.convert(header, dict[str, TensorEntry])
    except CorruptHeader:
        raise
    except (ValueError, RecursionError) as error:
        raise CorruptHeader(f"{file}: broken header: {error}") from error
    return dict(sorted(entries.items(), key=lambda item: item[1].data_offsets))


def _check_layout(file: str, entries: dict[str, TensorEntry], data_bytes: int) -> None:
    position = 0
    for name, entry in entries.items():
        if entry.dtype not in DTYPE_BYTES:
            raise CorruptHeader(f"{file}: tensor {name!r} has the unknown dtype {entry.dtype!r}")
        begin, end = entry.data_offsets
        if begin != position or end < begin:
            raise CorruptHeader(f"{file}: tensor {name!r} overlaps another or leaves a gap")
        needed = math.prod(entry.shape) * DTYPE_BYTES[entry.dtype]
        if end - begin != needed:
            raise CorruptHeader(
                f"{file}: tensor {name!r} ({entry.dtype} {list(entry.shape)}) needs {needed} "
                f"bytes, its offsets span {end - begin}"
            )
        position = end
    if position != data_bytes:
        raise CorruptHeader(
            f"{file}: the header describes {position} bytes of tensors, the file has "
            f"{data_bytes}: truncated, fetch it again"
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a name appears twice")
    return named

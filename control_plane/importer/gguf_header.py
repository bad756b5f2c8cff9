"""The header of a GGUF file (versions 2 and 3), read as if it lied.

Every count and length is held against the bytes that are left before anything is read or allocated,
so a truncated or invented header is an error, never a huge allocation or a reader that runs away.
The `gguf` package maps the file and trusts its header; of it only the block sizes and the
dequantisation are used.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from control_plane.importer.errors import Corrupt, Unsupported

_VERSIONS = (2, 3)
_SCALARS = dict(
    zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), (f"<{form}" for form in "BbHhIif?Qqd"), strict=True)
)
"""Number of a scalar type to its `struct` format."""
_STRING, _ARRAY = 8, 9
_KEY_LIMIT_BYTES = 65535
_TEXT_LIMIT_BYTES = 16 << 20
_PAIR_LIMIT = 1 << 16
_TENSOR_LIMIT = 1 << 17
_ARRAY_LIMIT = 1 << 24
_HEADER_LIMIT_BYTES = 256 << 20
_DIMENSION_LIMIT = 4
_ALIGNMENT_LIMIT = 1 << 16


@dataclass(frozen=True)
class GgufTensor:
    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    """Outermost dimension first, in elements (GGUF itself writes it the other way round)."""
    offset_bytes: int
    """From the start of the file."""
    row_bytes: int
    rows: int


@dataclass(frozen=True)
class GgufHeader:
    metadata: dict[str, Any]
    """Numbers, texts, lists of texts, and numpy arrays of numbers."""
    tensors: tuple[GgufTensor, ...]


class _Cursor:
    """A place in the file that cannot move past its end."""

    def __init__(self, file: BinaryIO, name: str, size_bytes: int) -> None:
        self._file = file
        self._name = name
        self._size_bytes = size_bytes
        self.position = 0

    def refuse(self, why: str) -> Corrupt:
        return Corrupt(
            f"{self._name}: {why} (near byte {self.position} of {self._size_bytes}): "
            "truncated or not a GGUF file, fetch it again"
        )

    def take(self, count_bytes: int, what: str) -> bytes:
        if count_bytes > self._size_bytes - self.position:
            raise self.refuse(f"{what} claims {count_bytes} bytes, more than the file has")
        if self.position + count_bytes > _HEADER_LIMIT_BYTES:
            raise self.refuse(f"the header is larger than {_HEADER_LIMIT_BYTES} bytes")
        body = self._file.read(count_bytes)
        if len(body) != count_bytes:
            raise self.refuse(f"{what} ends early")
        self.position += count_bytes
        return body

    def number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def text(self, what: str, limit_bytes: int = _TEXT_LIMIT_BYTES) -> str:
        length = self.number("<Q", what)
        if length > limit_bytes:
            raise self.refuse(f"{what} claims {length} bytes of text")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"{what} is not UTF-8") from error

    def at_most(self, limit: int, what: str) -> int:
        number: int = self.number("<Q", what)
        if number > limit:
            raise self.refuse(f"{number} {what}, more than the {limit} that can be")
        return number


def read_header(path: Path) -> GgufHeader:
    """Metadata and tensors of a GGUF file.

    Raises:
        Corrupt: the header is truncated or does not fit the file.
        Unsupported: a version, byte order or tensor type that is not read.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        cursor = _Cursor(file, path.name, size_bytes)
        if cursor.take(4, "the magic") != b"GGUF":
            raise cursor.refuse("it does not start with GGUF")
        version = cursor.number("<I", "the version")
        if version not in _VERSIONS:
            raise Unsupported(
                f"{path.name}: GGUF version {version} is not read; convert to version 3"
            )
        tensor_count = cursor.at_most(_TENSOR_LIMIT, "tensors")
        pair_count = cursor.at_most(_PAIR_LIMIT, "metadata pairs")
        metadata: dict[str, Any] = {}
        for _ in range(pair_count):
            key = cursor.text("a metadata key", _KEY_LIMIT_BYTES)
            if key in metadata:
                raise cursor.refuse(f"metadata key {key!r} appears twice")
            metadata[key] = _value(cursor, cursor.number("<I", f"the type of {key}"), key)
        raw = [_tensor(cursor) for _ in range(tensor_count)]
        alignment = _alignment(cursor, metadata)
        start = -(-cursor.position // alignment) * alignment
        return GgufHeader(metadata, _locate(cursor, raw, start, alignment, size_bytes))


def _value(cursor: _Cursor, kind: int, key: str) -> Any:
    if kind == _STRING:
        return cursor.text(key)
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind], key)
    if kind != _ARRAY:
        raise cursor.refuse(f"{key} has the unknown type {kind}")
    inner = cursor.number("<I", key)
    length = cursor.at_most(_ARRAY_LIMIT, f"elements of {key}")
    if inner == _STRING:
        return [cursor.text(key) for _ in range(length)]
    if inner not in _SCALARS:
        raise cursor.refuse(f"{key} is an array of the type {inner}, which is not read")
    item = np.dtype(_SCALARS[inner])
    return np.frombuffer(cursor.take(length * item.itemsize, key), dtype=item)


def _tensor(cursor: _Cursor) -> GgufTensor:
    """One tensor, its offset still relative to the start of the data."""
    name = cursor.text("a tensor name", _KEY_LIMIT_BYTES)
    dimensions = cursor.number("<I", name)
    if not 1 <= dimensions <= _DIMENSION_LIMIT:
        raise cursor.refuse(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(reversed([cursor.number("<Q", name) for _ in range(dimensions)]))
    kind = _kind(cursor, name, cursor.number("<I", name))
    block_elements, block_bytes = GGML_QUANT_SIZES[kind]
    if any(not 0 < length < 1 << 40 for length in shape) or shape[-1] % block_elements:
        raise cursor.refuse(f"tensor {name!r} ({kind.name}) has the impossible shape {shape}")
    return GgufTensor(
        name=name,
        kind=kind,
        shape=shape,
        offset_bytes=cursor.number("<Q", name),
        row_bytes=shape[-1] // block_elements * block_bytes,
        rows=math.prod(shape[:-1]),
    )


def _kind(cursor: _Cursor, name: str, number: int) -> GGMLQuantizationType:
    try:
        kind = GGMLQuantizationType(number)
    except ValueError as error:
        raise cursor.refuse(f"tensor {name!r} has the unknown type {number}") from error
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind)
    except NotImplementedError as error:
        raise Unsupported(f"tensor {name!r} is {kind.name}, which cannot be dequantised") from error
    return kind


def _alignment(cursor: _Cursor, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= _ALIGNMENT_LIMIT:
        raise cursor.refuse(f"the alignment {alignment!r} is impossible")
    if alignment & (alignment - 1):
        raise cursor.refuse(f"the alignment {alignment} is not a power of two")
    return alignment


def _locate(
    cursor: _Cursor, raw: list[GgufTensor], start: int, alignment: int, size_bytes: int
) -> tuple[GgufTensor, ...]:
    """The tensors at their place in the file, once it is known that they fit there."""
    names: set[str] = set()
    located: list[GgufTensor] = []
    end = start
    for tensor in sorted(raw, key=lambda tensor: tensor.offset_bytes):
        if tensor.name in names:
            raise cursor.refuse(f"tensor {tensor.name!r} appears twice")
        offset_bytes = start + tensor.offset_bytes
        if offset_bytes < end or tensor.offset_bytes % alignment:
            raise cursor.refuse(f"tensor {tensor.name!r} overlaps another or is not aligned")
        end = offset_bytes + tensor.rows * tensor.row_bytes
        if end > size_bytes:
            raise cursor.refuse(f"tensor {tensor.name!r} ends at byte {end}")
        names.add(tensor.name)
        located.append(
            GgufTensor(
                tensor.name, tensor.kind, tensor.shape, offset_bytes, tensor.row_bytes, tensor.rows
            )
        )
    return tuple(located)

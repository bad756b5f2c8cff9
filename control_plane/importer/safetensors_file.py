"""The safetensors format: headers that are checked before they are believed, and a writer.

Layout: 8 bytes little-endian header length, a JSON header, then the tensors, back to back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane.importer.errors import Corrupt
from control_plane.importer.folder import parse_object

_HEADER_LIMIT_BYTES = 100_000_000
"""The limit of the reference implementation."""
_DTYPE_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


@dataclass(frozen=True)
class TensorEntry:
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Every tensor of a file, in the order of their bytes.

    Raises:
        Corrupt: the header does not describe exactly the bytes that follow it.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if file_bytes < 8 or header_bytes > file_bytes - 8 or header_bytes > _HEADER_LIMIT_BYTES:
            raise Corrupt(
                f"{path.name}: the header claims {header_bytes} bytes in a file of {file_bytes}: "
                "truncated or not safetensors, fetch it again"
            )
        header = parse_object(file.read(header_bytes), f"the header of {path.name}")
    header.pop("__metadata__", None)
    located = sorted(
        (_entry(path.name, name, raw) for name, raw in header.items()), key=lambda item: item[1]
    )
    position = 0
    for name, span, _ in located:
        if span[0] != position:
            raise Corrupt(f"{path.name}: tensor {name!r} overlaps another or leaves a gap")
        position = span[1]
    if position != file_bytes - 8 - header_bytes:
        raise Corrupt(
            f"{path.name}: the header describes {position} bytes of tensors, the file has "
            f"{file_bytes - 8 - header_bytes}: truncated, fetch it again"
        )
    return {name: entry for name, _, entry in located}


def header_of(tensors: Iterable[tuple[str, tuple[int, ...]]], dtype: str) -> bytes:
    """The first bytes of a file whose tensors follow in this order, all of one dtype."""
    # transformers loads a file only where its metadata names a framework.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in tensors:
        end = position + math.prod(shape) * _DTYPE_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    body = json.dumps(header, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    return len(body).to_bytes(8, "little") + body


def _entry(file: str, name: str, raw: Any) -> tuple[str, tuple[int, int], TensorEntry]:
    match raw:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end], **rest}:
            pass
        case _:
            raise Corrupt(f"{file}: tensor {name!r} lacks dtype, shape or data_offsets")
    if rest or not all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, start, end)):
        raise Corrupt(f"{file}: tensor {name!r} has a shape or offsets that are not counts")
    if dtype not in _DTYPE_BYTES:
        raise Corrupt(f"{file}: tensor {name!r} has the unknown dtype {dtype!r}")
    size_bytes = math.prod(shape) * _DTYPE_BYTES[dtype]
    if end - start != size_bytes:
        raise Corrupt(
            f"{file}: tensor {name!r} ({dtype} {shape}) needs {size_bytes} bytes, "
            f"its offsets span {end - start}"
        )
    return name, (start, end), TensorEntry(dtype, tuple(shape), size_bytes)

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.importer.errors import Corrupt, ImportRefused, Unsupported
from control_plane.importer.gguf_header import read_header
from tests.control_plane.importer.tiny_model import write_gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


def packed(
    pairs: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    data_bytes: int = 0,
    counts: tuple[int, int] | None = None,
    version: int = 3,
) -> bytes:
    numbers = counts or (len(tensors), len(pairs))
    body = b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(pairs) + b"".join(tensors)
    return body + bytes(-len(body) % 32) + bytes(data_bytes)


SOUND = packed(
    (pair("general.alignment", 4, struct.pack("<I", 32)), pair("name", 8, text("tiny"))),
    (tensor("a", (4, 2)), tensor("b", (3,), offset=32)),
    32 + 12,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.gguf"


def test_the_header_says_what_the_gguf_package_reads(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    header, reader = read_header(path), GGUFReader(path)
    ours = {each.name: each for each in header.tensors}
    assert len(ours) == len(reader.tensors)
    for theirs in reader.tensors:
        mine = ours[theirs.name]
        assert mine.offset_bytes == theirs.data_offset
        assert mine.shape == tuple(reversed(theirs.shape.tolist()))
        assert mine.rows * mine.row_bytes == theirs.n_bytes
    for key, value in header.metadata.items():
        contents = reader.fields[key].contents()
        assert (value.tolist() if isinstance(value, np.ndarray) else value) == contents


def test_every_truncation_is_refused(file: Path) -> None:
    for length in range(len(SOUND)):
        file.write_bytes(SOUND[:length])
        with pytest.raises(Corrupt):
            read_header(file)
    file.write_bytes(SOUND)
    assert len(read_header(file).tensors) == 2


def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    body = write_gguf(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(0, len(body), 997):
        cut.write_bytes(body[:length])
        with pytest.raises(Corrupt):
            read_header(cut)


HUGE = 1 << 60
LIES = {
    "no magic": b"GGML" + SOUND[4:],
    "tensor count": packed(counts=(HUGE, 0)),
    "pair count": packed(counts=(0, HUGE)),
    "pair count without pairs": packed(counts=(0, 1000)),
    "key length": packed((struct.pack("<Q", HUGE) + b"key",)),
    "text length": packed((pair("k", 8, struct.pack("<Q", HUGE)),)),
    "text not utf-8": packed((pair("k", 8, struct.pack("<Q", 2) + b"\xff\xff"),)),
    "array length": packed((pair("k", 9, struct.pack("<IQ", 4, HUGE)),)),
    "array of texts length": packed((pair("k", 9, struct.pack("<IQ", 8, 1 << 23)),)),
    "array of arrays": packed((pair("k", 9, struct.pack("<IQIQ", 9, 1, 9, 1)),)),
    "unknown type": packed((pair("k", 77, bytes(8)),)),
    "key twice": packed((pair("k", 0, b"1"), pair("k", 0, b"2"))),
    "alignment zero": packed((pair("general.alignment", 4, bytes(4)),)),
    "alignment odd": packed((pair("general.alignment", 4, struct.pack("<I", 24)),)),
    "alignment huge": packed((pair("general.alignment", 10, struct.pack("<Q", HUGE)),)),
    "alignment text": packed((pair("general.alignment", 8, text("32")),)),
    "dimensions": packed(tensors=(text("a") + struct.pack("<I", 1 << 31),)),
    "no dimension": packed(tensors=(tensor("a", ()),), data_bytes=4),
    "length zero": packed(tensors=(tensor("a", (4, 0)),), data_bytes=4),
    "length huge": packed(tensors=(tensor("a", (HUGE, HUGE)),), data_bytes=4),
    "product huge": packed(tensors=(tensor("a", (1 << 39, 1 << 39, 1 << 39)),), data_bytes=4),
    "unknown tensor type": packed(tensors=(tensor("a", (4,), kind=999),), data_bytes=16),
    "row is no whole block": packed(tensors=(tensor("a", (33,), kind=8),), data_bytes=64),
    "offset huge": packed(tensors=(tensor("a", (4,), offset=(1 << 64) - 32),), data_bytes=16),
    "offset not aligned": packed(tensors=(tensor("a", (4,), offset=4),), data_bytes=64),
    "overlap": packed(tensors=(tensor("a", (16,)), tensor("b", (4,), offset=32)), data_bytes=64),
    "same place": packed(tensors=(tensor("a", (4,)), tensor("b", (4,))), data_bytes=64),
    "name twice": packed(tensors=(tensor("a", (4,)), tensor("a", (4,), offset=32)), data_bytes=64),
    "data too short": packed(tensors=(tensor("a", (4,)),), data_bytes=15),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused(file: Path, lie: str) -> None:
    file.write_bytes(LIES[lie])
    with pytest.raises(Corrupt) as caught:
        read_header(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        packed(version=1),
        packed(version=99),
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        packed(tensors=(tensor("a", (4,), kind=24),), data_bytes=4),
    ],
    ids=["old", "new", "big endian", "integers"],
)
def test_what_is_sound_but_not_read_is_said(file: Path, body: bytes) -> None:
    file.write_bytes(body)
    with pytest.raises(Unsupported):
        read_header(file)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(4, len(SOUND) - 1), st.integers(0, 255)), min_size=1))
def test_a_changed_file_is_read_soundly_or_refused(
    file: Path, changes: list[tuple[int, int]]
) -> None:
    body = bytearray(SOUND)
    for place, value in changes:
        body[place] = value
    file.write_bytes(body)
    try:
        header = read_header(file)
    except ImportRefused:
        return
    for each in header.tensors:
        assert each.offset_bytes + each.rows * each.row_bytes <= len(body)

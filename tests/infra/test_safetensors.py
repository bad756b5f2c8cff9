"""A safetensors header is believed only where file and header agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.safetensors import CorruptHeader, TensorEntry, encode_header, read_header

TENSORS = {
    "a": TensorEntry("F32", (2, 3), (0, 24)),
    "empty": TensorEntry("F32", (0, 4), (24, 24)),
    "scalar": TensorEntry("F32", (), (24, 28)),
}
SOUND = encode_header(TENSORS) + bytes(28)


def entry(
    dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def packed(header: Any, data_bytes: int = 8) -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(body).to_bytes(8, "little") + body + bytes(data_bytes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def test_a_sound_header_is_read_in_order(file: Path) -> None:
    file.write_bytes(SOUND)
    header = read_header(file)
    assert list(header.entries.items()) == [
        ("a", TensorEntry("F32", (2, 3), (0, 24))),
        ("empty", TensorEntry("F32", (0, 4), (24, 24))),
        ("scalar", TensorEntry("F32", (), (24, 28))),
    ]
    assert header.data_start == len(SOUND) - 28


def test_every_truncation_is_refused(file: Path) -> None:
    for length in range(len(SOUND)):
        file.write_bytes(SOUND[:length])
        with pytest.raises(CorruptHeader):
            read_header(file)


@pytest.mark.parametrize("length", [1 << 60, (1 << 64) - 1, 1 << 31, len(SOUND)])
def test_a_header_length_that_lies_allocates_nothing(file: Path, length: int) -> None:
    file.write_bytes(length.to_bytes(8, "little") + SOUND[8:])
    with pytest.raises(CorruptHeader):
        read_header(file)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(), "b": entry()},
        {"a": entry(offsets=[0, 4], shape=[1]), "b": entry(offsets=[2, 6], shape=[1])},
        {"a": entry(offsets=[4, 12])},
        {"a": entry(offsets=[8, 0])},
        {"a": entry(offsets=[0, 4])},
        {"a": entry(offsets=[0, 1 << 60], shape=[1 << 58])},
        {"a": entry(offsets=[-8, 0])},
        {"a": entry(offsets=[0.0, 8.0])},
        {"a": entry(offsets=[False, 8])},
        {"a": entry(offsets=[0, 8, 9])},
        {"a": entry(shape=[-1, -2])},
        {"a": entry(shape=[1 << 80])},
        {"a": entry(shape="2")},
        {"a": entry(shape=None)},
        {"a": entry(dtype="F31")},
        {"a": entry(dtype="F64")},
        {"a": entry(dtype=3)},
        {"a": entry(more=1)},
        {"a": []},
        {"a": None},
        {},
        [],
        b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}",
        b"{" * 50_000,
        b"\xff" * 100,
    ],
)
def test_a_header_that_does_not_describe_its_bytes_is_refused(file: Path, header: Any) -> None:
    file.write_bytes(packed(header))
    with pytest.raises(CorruptHeader):
        read_header(file)


def test_bytes_after_the_last_tensor_are_refused(file: Path) -> None:
    file.write_bytes(SOUND + b"x")
    with pytest.raises(CorruptHeader):
        read_header(file)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 29), st.integers(0, 255)), min_size=1))
def test_a_changed_header_is_read_soundly_or_refused(
    file: Path, changes: list[tuple[int, int]]
) -> None:
    body = bytearray(SOUND)
    for place, value in changes:
        body[place] = value
    file.write_bytes(body)
    try:
        tensors = read_header(file).entries
    except CorruptHeader:
        return
    header_bytes = int.from_bytes(body[:8], "little")
    assert sum(each.size_bytes for each in tensors.values()) == len(body) - 8 - header_bytes

"""Hostile indexes: refused in words, or read as something that does not contradict itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.package_index import (
    BLOCK_BYTES,
    ChunkHash,
    CorruptIndex,
    DamagedChunk,
    LayerGroup,
    PackageIndex,
    checksum_of,
    digest_of,
    encode_index,
    parse_index,
    with_root,
)
from infra.safetensors import Header, TensorEntry, encode_header, parse_header

_CHUNK = 64 << 10
_DATA = bytes(range(256)) * (5 * _CHUNK // 2 // 256)
_ENTRIES = {
    "embed": TensorEntry("BF16", (256, 16), (0, 8192)),
    "q": TensorEntry("I8", (64, 128), (8192, 16384)),
    "q.scales": TensorEntry("F32", (64, 2), (16384, 16896)),
    "norm": TensorEntry("F32", (8,), (16896, 16928)),
    "__padding__.0": TensorEntry("U8", (32,), (16928, 16960)),
    "o": TensorEntry("I8", (2, 64, 64), (16960, 25152)),
    "o.scales": TensorEntry("F32", (2, 64, 1), (25152, 25664)),
    "__padding__.1": TensorEntry("U8", (len(_DATA) - 25664,), (25664, len(_DATA))),
}
_HEAD = encode_header(_ENTRIES, BLOCK_BYTES)


def _index(**changes: Any) -> PackageIndex:
    chunks = [_DATA[begin : begin + _CHUNK] for begin in range(0, len(_DATA), _CHUNK)]
    index = PackageIndex(
        root="",
        header_bytes=len(_HEAD),
        header_digest=digest_of(_HEAD),
        data_bytes=len(_DATA),
        chunk_bytes=_CHUNK,
        chunks=[ChunkHash(checksum_of(chunk), digest_of(chunk)) for chunk in chunks],
        groups=[LayerGroup("embedding", 0, 8192), LayerGroup("layer.0", 8192, len(_DATA))],
        aliases={"head": "embed"},
        quantization="int8",
        slices={"o": 2},
    )
    return with_root(msgspec.structs.replace(index, **changes))


def _header(**changes: TensorEntry | None) -> Header:
    entries = {**_ENTRIES, **changes}
    found = {name: entry for name, entry in entries.items() if entry is not None}
    ordered = sorted(found.items(), key=lambda item: item[1].data_offsets)
    return Header(dict(ordered), len(_HEAD))


SOUND = encode_index(_index())


def _assert_consistent(index: PackageIndex) -> None:
    """What a reader takes for granted."""
    assert 0 < index.header_bytes <= 200 << 20
    ranges = [index.chunk_range(chunk) for chunk in range(len(index.chunks))]
    assert [begin for begin, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == index.data_bytes > 0
    assert all(0 < end - begin <= 256 << 20 for begin, end in ranges)
    assert [group.begin for group in index.groups] == [0, *(g.end for g in index.groups[:-1])]
    assert index.groups[-1].end == index.data_bytes
    for group in index.groups:
        covered = index.chunks_of(group.begin, group.end)
        assert 0 <= covered.start < covered.stop <= len(index.chunks)


def _is_refused_or_sound(body: bytes) -> None:
    try:
        index = parse_index(body, "package.json")
    except CorruptIndex as error:
        assert "package.json" in str(error)
        return
    _assert_consistent(index)


def test_an_index_is_read_back_as_it_was_written() -> None:
    index = parse_index(SOUND, "package.json")
    assert index == _index()
    _assert_consistent(index)
    index.check_against(parse_header(_HEAD, len(_DATA), "model.safetensors"))
    index.check_header(_HEAD)


def test_every_truncation_is_refused() -> None:
    for length in range(len(SOUND)):
        with pytest.raises(CorruptIndex):
            parse_index(SOUND[:length], "package.json")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(CorruptIndex):
        parse_index(body, "package.json")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_changed_bytes_are_refused(changes: list[tuple[int, int]]) -> None:
    body = bytearray(SOUND)
    for place, value in changes:
        body[place] = value
    _is_refused_or_sound(bytes(body))
    if json.loads(SOUND) != _or_none(body):
        with pytest.raises(CorruptIndex):
            parse_index(bytes(body), "package.json")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=70)
    | st.sampled_from([0, 1, -1, 4096, 8192, 1 << 53, 1 << 63, 1 << 64, 10**40, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_FIELDS = list(PackageIndex.__struct_fields__)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from([*_FIELDS, "more"]), _JSON, min_size=1, max_size=3))
def test_any_value_in_any_field_is_refused_or_sound_under_a_right_root(
    changes: dict[str, Any],
) -> None:
    """An attacker computes the root, too."""
    _is_refused_or_sound(_rooted({**json.loads(SOUND), **changes}))


_PLACES = st.integers(-1, 4) | st.sampled_from([4095, 4096, 8192, len(_DATA), 1 << 53, 1 << 54])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=3), _PLACES, _PLACES), max_size=4),
    _PLACES,
    _PLACES,
    st.permutations(range(3)),
)
def test_any_groups_sizes_and_orders_are_refused_or_sound(
    groups: list[tuple[str, int, int]], data_bytes: int, header_bytes: int, order: list[int]
) -> None:
    document = json.loads(SOUND)
    for changes in (
        {"groups": groups},
        {"groups": groups, "data_bytes": data_bytes},
        {"header_bytes": header_bytes},
        {"chunk_bytes": data_bytes},
        {"chunks": [document["chunks"][place] for place in order[: max(0, data_bytes % 4)]]},
    ):
        _is_refused_or_sound(_rooted({**document, **changes}))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"aliases":' + b'{"a":' * 100_000,
        b'{"groups":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"data_bytes":' + b"9" * 1_000_000 + b"}",
        b'{"root":"' + b"\\u0000" * 100_000 + b'"}',
        b"\xff\xfe{}",
        b" " * ((64 << 20) + 1),
        b"",
    ],
    ids=["lists", "objects", "balanced", "digits", "zeros", "utf-16", "spaces", "nothing"],
)
def test_deep_long_and_huge_documents_are_refused(body: bytes) -> None:
    with pytest.raises(CorruptIndex):
        parse_index(body, "package.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"data_bytes": len(_DATA) + BLOCK_BYTES},
        {"data_bytes": 1 << 53},
        {"data_bytes": 0, "chunks": [], "groups": []},
        {"chunk_bytes": 4096},
        {"chunk_bytes": 1 << 40},
        {"header_bytes": 100},
        {"header_bytes": 1 << 40},
        {"header_bytes": 0},
        {"groups": [LayerGroup("a", 0, 8192), LayerGroup("b", 4096, len(_DATA))]},
        {"groups": [LayerGroup("a", 0, 4096), LayerGroup("b", 8192, len(_DATA))]},
        {"groups": [LayerGroup("b", 8192, len(_DATA)), LayerGroup("a", 0, 8192)]},
        {"groups": [LayerGroup("a", 0, 8192), LayerGroup("a", 8192, len(_DATA))]},
        {"groups": [LayerGroup("a", 0, 100), LayerGroup("b", 100, len(_DATA))]},
        {"groups": [LayerGroup("z", 0, 0), LayerGroup("a", 0, len(_DATA))]},
        {"groups": [LayerGroup("a", 0, len(_DATA) - BLOCK_BYTES)]},
        {"groups": []},
        {"chunks": []},
    ],
    ids=str,
)
def test_an_index_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptIndex, match="import the model again"):
        parse_index(encode_index(_index(**changes)), "package.json")


def test_a_changed_index_is_refused_under_its_old_root() -> None:
    document = json.loads(SOUND) | {"aliases": {}}
    with pytest.raises(CorruptIndex, match="root"):
        parse_index(json.dumps(document).encode(), "package.json")


@pytest.mark.parametrize(
    ("index", "header"),
    [
        ({}, {"embed": TensorEntry("BF16", (384, 16), (0, 12288))}),
        ({}, {"norm": TensorEntry("F32", (8,), (16904, 16936))}),
        ({}, {"norm": TensorEntry("I64", (4,), (16896, 16928))}),
        ({}, {"__padding__.0": TensorEntry("F32", (8,), (16928, 16960))}),
        ({}, {"q.scales": None}),
        ({}, {"q.scales": TensorEntry("F32", (64, 1), (16384, 16640))}),
        ({}, {"q.scales": TensorEntry("F16", (64, 2), (16384, 16640))}),
        ({}, {"o.scales": TensorEntry("F32", (64, 2), (25152, 25664))}),
        ({}, {"x.scales": TensorEntry("F32", (0,), (16384, 16384))}),
        ({}, {"q": TensorEntry("I8", (8192,), (8192, 16384))}),
        ({"quantization": "none"}, {}),
        ({"slices": {}}, {}),
        ({"slices": {"o": 4}}, {}),
        ({"slices": {"o": 2, "q": 2}}, {}),
        ({"slices": {"o": 2, "none": 2}}, {}),
        ({"aliases": {"head": "none"}}, {}),
        ({"aliases": {"head": "__padding__.0"}}, {}),
        ({"aliases": {"norm": "embed"}}, {}),
        ({"header_bytes": len(_HEAD) + BLOCK_BYTES}, {}),
        ({}, {"__padding__.1": None}),
        ({}, dict.fromkeys(_ENTRIES)),
    ],
    ids=str,
)
def test_an_index_of_other_tensors_is_refused(
    index: dict[str, Any], header: dict[str, TensorEntry | None]
) -> None:
    with pytest.raises(CorruptIndex, match="disagree"):
        _index(**index).check_against(_header(**header))


@pytest.mark.parametrize("strong", [False, True])
def test_a_chunk_that_is_not_the_one_that_was_packed_is_refused(strong: bool) -> None:
    index = _index()
    chunk = bytearray(_DATA[_CHUNK : 2 * _CHUNK])
    index.check_chunk(1, memoryview(chunk), strong)
    spoilt: list[Callable[[], bytes | bytearray]] = [
        lambda: chunk[:-1],
        lambda: chunk + b"x",
        lambda: bytearray([chunk[0] ^ 1, *chunk[1:]]),
        lambda: chunk[::-1],
    ]
    for spoil in spoilt:
        with pytest.raises(DamagedChunk, match="chunk 1 of 3"):
            index.check_chunk(1, memoryview(spoil()), strong)


def _or_none(body: bytes | bytearray) -> Any:
    try:
        return json.loads(bytes(body))
    except ValueError:
        return None


def _rooted(document: dict[str, Any]) -> bytes:
    """The document under the root that its content asks for, where it has one."""
    body = json.dumps(document).encode()
    try:
        index = msgspec.json.decode(body, type=PackageIndex)
    except (msgspec.MsgspecError, RecursionError):
        return body
    return encode_index(with_root(index))

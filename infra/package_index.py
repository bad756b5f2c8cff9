"""The index of a checkpoint package: what lies where in its safetensors file, and how to know that
it does.

A package is a directory with `model.safetensors` and, beside it, this index as `package.json`. The
tensors of the file lie in the order in which a forward pass reads them, so that a model can begin
while its end is still on its way (ServerlessLLM, OSDI'24, lays checkpoints out for loading alike).
The index is what a stranger wrote: nothing in it is believed before `parse_index` has checked it,
and no byte of the file before its chunk has been held against its hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import blake3
import msgspec
import xxhash

from infra.package_tensors import contradictions
from infra.safetensors import MAX_HEADER_BYTES, Header

INDEX_FILE = "package.json"
BLOCK_BYTES = 4096
"""What direct reads are multiples of: the data and each layer group begin on one."""
MAX_INDEX_BYTES = 64 << 20
_MAX_HEADER_BYTES = MAX_HEADER_BYTES + BLOCK_BYTES
_CHUNK_LIMITS = (64 << 10, 256 << 20)

Natural = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Checksum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]


class CorruptIndex(ValueError):
    """The index contradicts itself or the file; the message names the place."""


class DamagedChunk(ValueError):
    """Bytes are not what the index says of them; the message names the chunk."""


class ChunkHash(msgspec.Struct, frozen=True, array_like=True):
    fast: Checksum
    """xxh3-64: against bit rot, where bytes come from a tier of our own."""
    strong: Digest
    """BLAKE3: against anybody, where they come from elsewhere."""


class LayerGroup(msgspec.Struct, frozen=True, array_like=True):
    """What one step of a forward pass reads: the embedding, a layer, the head."""

    name: str
    begin: Natural
    end: Natural
    """Of the data, in bytes; `begin` is a multiple of `BLOCK_BYTES`."""


class PackageIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Offsets count from the end of the file's header, like those of safetensors."""

    root: Digest
    """BLAKE3 of all that follows: the identity of the weights."""
    header_bytes: Natural
    """Where in the file the data begins: a multiple of `BLOCK_BYTES`."""
    header_digest: Digest
    """BLAKE3 of the bytes before that."""
    data_bytes: Natural
    """A multiple of `BLOCK_BYTES`, so that direct reads take the last block whole."""
    chunk_bytes: Natural
    chunks: list[ChunkHash]
    """Of each `chunk_bytes` of the data; the last may be shorter."""
    groups: list[LayerGroup]
    """One after the other, all of the data, in the order of the forward pass: `embedding`,
    `layer.0` and so on, `head`."""
    aliases: dict[str, str] = {}
    """Names of tensors that are another one (tied weights)."""
    quantization: Literal["none", "int8"] = "none"
    """int8: a tensor of products is I8 [outputs, inputs], and `<name>.scales` in the same group is
    F32 [outputs, groups of 64 inputs]; the last group may be shorter."""
    slices: dict[str, Annotated[int, msgspec.Meta(ge=2)]] = {}
    """Tensors that are cut along their inputs for tensor parallelism: stored as [slices, outputs,
    inputs / slices]. Their scales are cut alike and not named here."""
    format: Literal[1] = 1

    @property
    def file_bytes(self) -> int:
        return self.header_bytes + self.data_bytes

    def chunk_range(self, chunk: int) -> tuple[int, int]:
        """Begin and end of a chunk in the data."""
        begin = chunk * self.chunk_bytes
        return begin, min(begin + self.chunk_bytes, self.data_bytes)

    def chunks_of(self, begin: int, end: int) -> range:
        """The chunks that hold these bytes of the data."""
        return range(begin // self.chunk_bytes, -(-end // self.chunk_bytes))

    def check_header(self, header: bytes) -> None:
        """Raises DamagedChunk."""
        if len(header) != self.header_bytes or digest_of(header) != self.header_digest:
            raise DamagedChunk("the header of the weights is not the one that was packed")

    def check_against(self, header: Header) -> None:
        """Hold the index against the (checked) header of its file.

        Raises:
            CorruptIndex: they do not belong together, or the tensors are not laid out as they say.
        """
        for complaint in contradictions(self, header):
            raise CorruptIndex(f"the index and the header disagree: {complaint}: import it again")

    def check_chunk(self, chunk: int, data: memoryview, strong: bool) -> None:
        """Raises DamagedChunk."""
        expected = self.chunks[chunk]
        begin, end = self.chunk_range(chunk)
        right = len(data) == end - begin and (
            digest_of(data) == expected.strong if strong else checksum_of(data) == expected.fast
        )
        if not right:
            raise DamagedChunk(f"chunk {chunk} of {len(self.chunks)} is not what was packed")


def digest_of(data: bytes | memoryview) -> str:
    return blake3.blake3(data).hexdigest()


def checksum_of(data: bytes | memoryview) -> str:
    return xxhash.xxh3_64_hexdigest(data)


def with_root(index: PackageIndex) -> PackageIndex:
    """The same index under its right root."""
    return msgspec.structs.replace(index, root=_root_of(index))


def encode_index(index: PackageIndex) -> bytes:
    return msgspec.json.encode(index)


def parse_index(body: bytes, where: str) -> PackageIndex:
    """Read and check an index; `where` is named in errors.

    Raises:
        CorruptIndex: it is no index, contradicts itself, or asks for more than can be.
    """
    if len(body) > MAX_INDEX_BYTES:
        raise CorruptIndex(f"{where} has {len(body)} bytes: no index is that large")
    try:
        index = msgspec.json.decode(body, type=PackageIndex)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptIndex(f"{where} is no package index: {error}") from error
    for complaint in _complaints(index):
        raise CorruptIndex(f"{where}: {complaint}: import the model again")
    return index


def _complaints(index: PackageIndex) -> Iterator[str]:
    if index.root != _root_of(index):
        yield "its root is not the hash of its content"
    smallest, largest = _CHUNK_LIMITS
    if not smallest <= index.chunk_bytes <= largest or index.chunk_bytes % BLOCK_BYTES:
        yield f"chunks of {index.chunk_bytes} bytes"
        return
    if index.header_bytes % BLOCK_BYTES or not 0 < index.header_bytes <= _MAX_HEADER_BYTES:
        yield f"the data begins at {index.header_bytes}, where it cannot"
    if index.data_bytes % BLOCK_BYTES or not index.data_bytes:
        yield f"{index.data_bytes} bytes of data are no whole blocks"
    if len(index.chunks) != -(-index.data_bytes // index.chunk_bytes):
        yield f"{len(index.chunks)} chunks do not make {index.data_bytes} bytes"
    position = 0
    for group in index.groups:
        if group.begin != position or group.end <= group.begin or group.begin % BLOCK_BYTES:
            yield f"group {group.name!r} overlaps another, leaves a gap, or begins inside a block"
        position = group.end
    if position != index.data_bytes:
        yield f"its groups end at {position} of {index.data_bytes} bytes"
    if len({group.name for group in index.groups}) != len(index.groups):
        yield "two groups have one name"


def _root_of(index: PackageIndex) -> str:
    return digest_of(msgspec.json.encode(msgspec.structs.replace(index, root="")))

"""A checkpoint becomes a package: `model.safetensors`, and its index beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.packing.conversion import Conversion
from control_plane.importer.packing.layout import Layout
from control_plane.importer.packing.package_file import PackageFile
from control_plane.importer.packing.request import Packing
from control_plane.importer.progress import Meter, Progress
from control_plane.importer.staged import StagedModel
from infra.package_index import (
    INDEX_FILE,
    PackageIndex,
    digest_of,
    encode_index,
    with_root,
)
from infra.package_tensors import INT8_CONFIG
from infra.safetensors import WEIGHTS_FILE

CHUNK_BYTES = 8 << 20
"""Large enough that a read costs little beside its bytes, small enough that many run at once."""


def write_package(
    checkpoint: Checkpoint, layout: Layout, staged: StagedModel, progress: Progress
) -> PackageIndex:
    """Raises ImportRefused, OSError."""
    header = layout.header()
    staged.reserve(len(header) + layout.data_bytes)
    meter = Meter(progress, "weights", layout.data_bytes)
    pieces = _counted(Conversion(layout, checkpoint.tensors).pieces(), meter)
    with PackageFile(staged.path / WEIGHTS_FILE, header, CHUNK_BYTES) as file:
        chunks = file.write(pieces)
        staged.files.append(file.digest())
    index = with_root(
        PackageIndex(
            root="",
            header_bytes=len(header),
            header_digest=digest_of(header),
            data_bytes=layout.data_bytes,
            chunk_bytes=CHUNK_BYTES,
            chunks=chunks,
            groups=layout.groups,
            aliases=layout.aliases,
            quantization=layout.quantization,
            slices=layout.slices,
        )
    )
    staged.write(INDEX_FILE, [encode_index(index)])
    return index


def packed_config(checkpoint: Checkpoint, layout: Layout, packing: Packing) -> dict[str, Any]:
    """The config.json of the package."""
    config = dict(checkpoint.config)
    if packing.dtype is not None:
        config.pop("dtype", None)
        config["torch_dtype"] = packing.dtype
    if layout.quantization == "int8":
        config["quantization_config"] = INT8_CONFIG
    return config


def _counted(pieces: Iterator[memoryview], meter: Meter) -> Iterator[memoryview]:
    for piece in pieces:
        yield piece
        meter.add(len(piece))

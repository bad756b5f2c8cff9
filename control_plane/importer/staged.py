"""A model directory while it is written: every byte is hashed on its way to the disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from control_plane.importer.errors import DiskFull
from infra.storage.tree import FileDigest

_RESERVE_BYTES = 16 << 20


class StagedModel:
    """Collects the files of one model in a staging directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: list[FileDigest] = []

    def reserve(self, need_bytes: int) -> None:
        """Raises `DiskFull` where the weights cannot fit, before anything is written."""
        free_bytes = shutil.disk_usage(self.path).free
        if need_bytes + _RESERVE_BYTES > free_bytes:
            raise DiskFull(
                f"the model needs {need_bytes >> 20} MiB, the disk of {self.path.parent} has "
                f"{free_bytes >> 20} MiB left: free some and retry"
            )

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        digest, size_bytes = hashlib.sha256(), 0
        with (self.path / name).open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size_bytes += len(chunk)
        self.files.append(FileDigest(name, size_bytes, digest.hexdigest()))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        body = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self.write(name, [body.encode() + b"\n"])

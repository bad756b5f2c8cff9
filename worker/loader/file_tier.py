"""A package's directory on this machine as the place that its chunks come from."""

from __future__ import annotations

from pathlib import Path

from infra.package_index import PackageIndex
from infra.safetensors import WEIGHTS_FILE
from worker.loader.reader import LocalFile, ReadFailed
from worker.loader.tiers.base import Held, TierFailed

STREAMS = 4
"""Chunks that are read at once: enough to keep a disk busy while others are checked."""


class FileTier:
    """`Tier` of a directory that holds the whole package.

    Raises:
        ReadFailed: the file is missing, or has another size.
    """

    name = "disk"
    trusted = True
    tries = 2

    def __init__(self, directory: Path, index: PackageIndex, streams: int = STREAMS) -> None:
        self.streams = streams
        self._index = index
        self._file = LocalFile(directory / WEIGHTS_FILE, index.file_bytes)

    def holds(self, _chunk: int) -> Held:
        return Held.HERE

    def read(self, chunk: int, into: memoryview) -> None:
        begin, _ = self._index.chunk_range(chunk)
        try:
            self._file.read(self._index.header_bytes + begin, into)
        except ReadFailed as error:
            raise TierFailed(str(error)) from error

    def broken(self, _chunk: int) -> None:
        """It is read once more: memory and buses fail, too."""

    def close(self) -> None:
        """Reads of a file end by themselves."""

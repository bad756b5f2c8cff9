"""The store that a package was imported into."""

from __future__ import annotations

from collections.abc import Callable

from infra.package_index import PackageIndex
from infra.storage.base import StorageError
from infra.storage.ranges import RangedFile
from worker.loader.tiers.base import Held, TierFailed

_TRIES = 3
"""There is no farther tier: what was broken on its way may come whole the next time."""


class StoreTier:
    """Chunks as parts of the stored `model.safetensors`."""

    name = "store"
    tries = _TRIES

    def __init__(
        self,
        index: PackageIndex,
        file: RangedFile,
        streams: int,
        trusted: bool = False,
        reading: Callable[[int, bool], None] = lambda _chunk, _begun: None,
    ) -> None:
        """
        Args:
            file: closed with the tier.
            trusted: it lies on this machine.
            reading: hears chunk and True before each read, and False after it.
        """
        self.streams = streams
        self.trusted = trusted
        self._index = index
        self._file = file
        self._reading = reading

    def holds(self, chunk: int) -> Held:  # noqa: ARG002 - what is stored is stored whole
        return Held.HERE

    def read(self, chunk: int, into: memoryview) -> None:
        begin, _ = self._index.chunk_range(chunk)
        self._reading(chunk, True)
        try:
            self._file.read(self._index.header_bytes + begin, into)
        except StorageError as error:
            raise TierFailed(str(error)) from error
        finally:
            self._reading(chunk, False)

    def broken(self, chunk: int) -> None:
        """It may have been the way."""

    def close(self) -> None:
        self._file.close()

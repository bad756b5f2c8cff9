"""Our loader: direct reads into an arena, chunks checked as they land, tensors as views of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from infra.package_index import PackageIndex
from loadtests.benchmarks.loader.arms.loading import serve
from loadtests.benchmarks.loader.destination import Loaded
from worker.loader.arena import Arena
from worker.loader.opening import land
from worker.loader.package import Package

_SPARE_BYTES = 8 << 20


class _Loader:
    """Keeps its arena between loads, as an agent does."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._arena: Arena | None = None

    @contextmanager
    def load(self, file: Path) -> Iterator[Loaded]:
        if self._arena is None:
            self._arena = Arena(self._size_bytes + _SPARE_BYTES)
        landing = land(file.parent, self._arena)
        try:
            package = Package(landing)
            names = [name for name in package.entries if name not in landing.index.aliases]
            yield ((name, package.tensor(name)) for name in names)
        finally:
            landing.close()


def _unchecked(_index: PackageIndex, _chunk: int, _data: memoryview, strong: bool) -> None:
    """In place of `PackageIndex.check_chunk`: what a load would take that believes its disk."""
    del strong


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    said = f"tamer {version('tamer')}"
    if not settings["verified"]:
        PackageIndex.check_chunk = _unchecked  # type: ignore[assignment, method-assign]
        said += ", without checks"
    serve(said, _Loader(settings["size_bytes"]).load)

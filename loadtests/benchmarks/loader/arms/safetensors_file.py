"""safetensors' own `load_file`: a mapping of the file, whose pages are read as they are touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from loadtests.benchmarks.loader.arms.loading import serve
from loadtests.benchmarks.loader.destination import Loaded


@contextmanager
def load(file: Path) -> Iterator[Loaded]:
    from safetensors.torch import load_file

    yield load_file(file).items()


if __name__ == "__main__":
    import safetensors.torch  # noqa: F401 - imports are not what is measured

    serve(f"safetensors {version('safetensors')}, load_file", load)

"""fastsafetensors without GPUDirect Storage (`nogds`), with the CPU as its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from loadtests.benchmarks.loader.arms.loading import serve
from loadtests.benchmarks.loader.destination import Loaded


@contextmanager
def load(file: Path) -> Iterator[Loaded]:
    from fastsafetensors import SafeTensorsFileLoader, SingleGroup

    with closing(SafeTensorsFileLoader(SingleGroup(), device="cpu", nogds=True)) as loader:
        loader.add_filenames({0: [str(file)]})
        with closing(loader.copy_files_to_device()) as buffer:
            yield ((name, buffer.get_tensor(name)) for name in list(buffer.key_to_rank_lidx))


if __name__ == "__main__":
    import fastsafetensors  # noqa: F401 - imports are not what is measured

    serve(f"fastsafetensors {version('fastsafetensors')}, nogds", load)

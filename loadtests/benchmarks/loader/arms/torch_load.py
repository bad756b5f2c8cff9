"""`torch.load` of a pickled state dict, mapped, as its documentation recommends for large files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from loadtests.benchmarks.loader.arms.loading import serve
from loadtests.benchmarks.loader.destination import Loaded


@contextmanager
def load(file: Path) -> Iterator[Loaded]:
    state: dict[str, torch.Tensor] = torch.load(file, mmap=True, weights_only=True)
    yield state.items()


if __name__ == "__main__":
    serve(f"torch {torch.__version__}, torch.load(mmap=True)", load)

"""Run:ai Model Streamer: threads that read into a buffer, tensors handed out as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from loadtests.benchmarks.loader.arms.loading import serve
from loadtests.benchmarks.loader.destination import Loaded


@contextmanager
def load(file: Path) -> Iterator[Loaded]:
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_file(str(file))
        # Its buffer holds the whole file (the limit is not reached), so tensors need no copy.
        yield streamer.get_tensors()


if __name__ == "__main__":
    import runai_model_streamer  # noqa: F401 - imports are not what is measured

    serve(f"runai-model-streamer {version('runai-model-streamer')}", load)

"""`python -m tests.worker.loader.killed_writer FOLDER CHUNKS`: writes so many chunks into the cache
of the folder and half of the next one, says so, and waits to be killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from infra.package_index import parse_index
from worker.loader.chunk_cache import ChunkCache


def main(folder: Path, chunks: int) -> None:
    package = folder / "package"
    index = parse_index((package / "package.json").read_bytes(), "package.json")
    weights = (package / "model.safetensors").read_bytes()
    header, data = weights[: index.header_bytes], memoryview(weights)[index.header_bytes :]
    names = ("package.json", "config.json")
    files = {name: (package / name).read_bytes() for name in names} | {"manifest.json": b"{}"}
    entry = ChunkCache(folder / "cache", 1 << 30).open("model", index, header, files)
    assert entry is not None
    for chunk in range(chunks):
        begin, end = index.chunk_range(chunk)
        entry.write(chunk, data[begin:end])
    begin, end = index.chunk_range(chunks)
    with (entry.folder / "model.safetensors").open("r+b") as file:
        os.pwrite(file.fileno(), data[begin : (begin + end) // 2], index.header_bytes + begin)
    os.write(1, b"in the middle\n")
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

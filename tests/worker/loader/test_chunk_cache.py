"""The cache on disk: what was written is there after any end; what is half written never counts."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.storage.tree import verify_tree
from loadtests.benchmarks.loader.random_package import CHUNK_BYTES, RandomPackage, random_package
from worker.loader.arena import Arena
from worker.loader.cache_entry import CacheEntry
from worker.loader.chunk_cache import ChunkCache
from worker.loader.fetch import fetch
from worker.loader.landing import Landing, OwnLanding
from worker.loader.tiers.disk import DiskTier
from worker.loader.write_through import WriteThrough

ROOT = Path(__file__).parents[3]
LIMIT_S = 10.0


@pytest.fixture
def package() -> RandomPackage:
    return random_package()


@pytest.fixture
def cache(tmp_path: Path) -> ChunkCache:
    return ChunkCache(tmp_path / "cache", 1 << 30)


@pytest.fixture
def full(package: RandomPackage) -> Iterator[OwnLanding]:
    """A landing with all chunks."""
    landing = _landing(package)
    for chunk in landing.missing():
        begin, end = package.index.chunk_range(chunk)
        landing.room(chunk)[:] = package.data[begin:end]
        landing.landed(chunk)
    yield landing


def _landing(package: RandomPackage) -> OwnLanding:
    return Landing.create(package.index, package.header, Arena(8 << 20))


def _open(cache: ChunkCache, package: RandomPackage, digest: str = "model") -> CacheEntry:
    files = {**package.files, "manifest.json": b"{}"}
    entry = cache.open(digest, package.index, package.header, files)
    assert entry is not None
    return entry


def _write_all(entry: CacheEntry, full: OwnLanding) -> None:
    writing = WriteThrough(entry, full)
    for chunk in range(len(full.index.chunks)):
        writing.landed(chunk)
    writing.all_landed()
    assert writing.join(LIMIT_S)


def test_what_is_written_through_is_the_package_itself(
    tmp_path: Path, cache: ChunkCache, package: RandomPackage, full: OwnLanding
) -> None:
    digest = package.write(tmp_path / "package")
    files = {
        path.name: path.read_bytes()
        for path in (tmp_path / "package").iterdir()
        if path.name != "model.safetensors"
    }
    entry = cache.open(digest, package.index, package.header, files)
    assert entry is not None
    _write_all(entry, full)
    assert entry.whole
    assert verify_tree(entry.folder).digest == digest


def test_a_restart_goes_on_with_the_chunks_that_are_there(
    cache: ChunkCache, package: RandomPackage, full: OwnLanding
) -> None:
    with _open(cache, package) as entry:
        for chunk in (0, 5, 20):
            entry.write(chunk, full.room(chunk))
    with _open(cache, package) as entry:
        assert [c for c in range(21) if entry.has(c)] == [0, 5, 20]
        assert entry.writable and not entry.whole


@pytest.mark.parametrize("written", [0, 7, 20])
def test_a_process_killed_while_it_writes_leaves_whole_chunks_only(
    tmp_path: Path, cache: ChunkCache, package: RandomPackage, written: int
) -> None:
    package.write(tmp_path / "package")
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.loader.killed_writer", str(tmp_path), str(written)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None and writer.stdout.readline() == b"in the middle\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    landing = _landing(package)
    with _open(cache, package) as entry:
        assert [c for c in range(21) if entry.has(c)] == list(range(written))
        for chunk in range(written):
            entry.read(chunk, landing.room(chunk))
            package.index.check_chunk(chunk, landing.room(chunk), strong=True)


def test_one_process_writes_and_another_reads_what_is_there(
    cache: ChunkCache, package: RandomPackage, full: OwnLanding
) -> None:
    with _open(cache, package) as first:
        first.write(3, full.room(3))
        with _open(cache, package) as second:
            assert not second.writable
            assert second.has(3) and not second.has(4)
            _write_all(first, full)
        with _open(cache, package) as third:
            assert third.whole and third.writable


def test_a_chunk_that_rots_is_fetched_again_and_mended(
    tmp_path: Path, cache: ChunkCache, package: RandomPackage, full: OwnLanding
) -> None:
    from infra.storage.ranges import DirectoryFile
    from worker.loader.tiers.store import StoreTier

    package.write(tmp_path / "package")
    entry = _open(cache, package)
    _write_all(entry, full)
    weights = entry.folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(package.index.header_bytes + 4 * CHUNK_BYTES + 10)
        file.write(b"rot")
    landing = _landing(package)
    stored = DirectoryFile(tmp_path / "package" / "model.safetensors", package.index.file_bytes)
    writing = WriteThrough(entry, landing)
    report = fetch(
        landing,
        [DiskTier(entry), StoreTier(package.index, stored, 2)],
        lambda chunk, _tier, _: writing.landed(chunk),
    )
    writing.all_landed()
    assert writing.join(LIMIT_S)
    assert report.bytes_by_tier["store"] == CHUNK_BYTES
    assert bytes(landing.wait(0, len(package.data), LIMIT_S)) == package.data
    assert weights.read_bytes() == package.header + package.data


def test_a_disk_that_fills_ends_the_caching_and_nothing_else(
    cache: ChunkCache, package: RandomPackage, full: OwnLanding
) -> None:
    entry = _open(cache, package)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * CHUNK_BYTES, before[1]))
    try:
        _write_all(entry, full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not any(entry.has(chunk) for chunk in range(21))
    assert not (entry.folder / "model.safetensors").exists()
    assert (entry.folder / "config.json").exists()
    entry.close()
    with _open(cache, package) as entry:
        _write_all(entry, full)
        assert entry.whole


def test_what_was_used_longest_ago_makes_room_and_what_is_used_stays(tmp_path: Path) -> None:
    packages = [random_package(8 * CHUNK_BYTES, seed=seed) for seed in range(4)]
    cache = ChunkCache(tmp_path / "cache", int(3.2 * packages[0].index.file_bytes))
    for number, package in enumerate(packages[:3]):
        with _open(cache, package, f"model-{number}") as entry:
            for chunk in range(8):
                entry.write(chunk, memoryview(package.data)[chunk * CHUNK_BYTES :][:CHUNK_BYTES])
            entry.finish()
        os.utime(entry.folder, (number, number))
    plain = cache.trees / "plain"
    plain.mkdir()
    (plain / "weights").write_bytes(bytes(1000))
    os.utime(plain, (0.5, 0.5))
    with _open(cache, packages[0], "model-0"):  # used again
        _open(cache, packages[3], "model-3").close()
    kept = {path.name for path in cache.packages.iterdir() if not path.name.startswith(".")}
    assert kept == {"model-0", "model-2", "model-3"}
    assert not plain.exists()
    assert cache.size_bytes <= cache.limit_bytes


def test_a_model_that_the_cache_cannot_hold_is_not_cached(
    tmp_path: Path, package: RandomPackage
) -> None:
    cache = ChunkCache(tmp_path / "cache", package.index.file_bytes - 1)
    assert cache.open("model", package.index, package.header, package.files) is None


def test_a_disk_that_cannot_be_written_is_not_used(tmp_path: Path, package: RandomPackage) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    cache = ChunkCache(tmp_path / "cache", 1 << 30)
    assert cache.open("model", package.index, package.header, package.files) is None


def test_a_package_that_is_still_written_counts_whole(tmp_path: Path) -> None:
    first, second = (random_package(8 * CHUNK_BYTES, seed=seed) for seed in range(2))
    cache = ChunkCache(tmp_path / "cache", int(1.5 * first.index.file_bytes))
    with _open(cache, first, "first"):
        assert cache.open("second", second.index, second.header, second.files) is None


def test_what_a_killed_eviction_left_is_removed(cache: ChunkCache) -> None:
    left = cache.packages / ".evicted-model"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"weights")
    assert cache.make_room(1)
    assert not left.exists()


def test_a_chunk_is_forgotten_on_a_disk_that_cannot_be_written(
    cache: ChunkCache, package: RandomPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EROFS, "read-only file system")

    with _open(cache, package) as entry:
        entry.write(0, memoryview(package.data)[:CHUNK_BYTES])
        monkeypatch.setattr(os, "pwrite", fail)
        entry.forget(0)
        assert not entry.has(0)

"""Local files are read whole, by whichever way their mount allows, or refused by name and place."""

from __future__ import annotations

import errno
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.package_index import BLOCK_BYTES
from loadtests.benchmarks.loader.random_package import random_package
from worker.loader import reader
from worker.loader.arena import Arena
from worker.loader.fetch import Unobtainable, fetch
from worker.loader.file_tier import FileTier
from worker.loader.landing import Landing
from worker.loader.reader import FileChanged, FileCut, LocalFile, ReadFailed

SIZE = 1 << 20
BODY = random.Random(5).randbytes(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def room() -> memoryview:
    """On a page, as a landing's is."""
    arena = Arena(SIZE, shared=False)
    return arena.take(SIZE).memory


def evict(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("cached", [True, False])
def test_every_byte_is_read_from_the_disk_and_from_the_page_cache(
    path: Path, room: memoryview, cached: bool
) -> None:
    file = LocalFile(path, SIZE)
    if not cached:
        evict(path)
    file.read(0, room)
    assert room == BODY


def test_direct_reads_leave_the_page_cache_alone(path: Path, room: memoryview) -> None:
    file = LocalFile(path, SIZE)
    evict(path)
    if not file.is_direct or file.is_cached(0, BLOCK_BYTES):
        pytest.skip("this mount has no direct reads, or keeps all it has")
    file.read(0, room)
    assert not file.is_cached(0, BLOCK_BYTES)
    assert room == BODY


def test_a_mount_that_cannot_is_probed_once_and_read_through_the_cache(
    path: Path, room: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = []

    def refused(descriptor: int) -> bool:
        probes.append(descriptor)
        return False

    monkeypatch.setattr(reader, "_direct_mounts", {})
    monkeypatch.setattr(reader, "_reads_directly", refused)
    files = [LocalFile(path, SIZE) for _ in range(3)]
    assert not any(file.is_direct for file in files)
    assert len(probes) == 1
    evict(path)
    files[0].read(0, room)
    assert room == BODY


@pytest.mark.parametrize(("begin", "end"), [(1, 5), (4095, 70_001), (BLOCK_BYTES, SIZE - 3)])
def test_what_is_no_whole_blocks_is_read_too(
    path: Path, room: memoryview, begin: int, end: int
) -> None:
    file = LocalFile(path, SIZE)
    evict(path)
    file.read(begin, room[: end - begin])
    assert room[: end - begin] == BODY[begin:end]


def test_short_reads_are_gone_on_with(
    path: Path, room: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    dice = random.Random(1)

    def short(descriptor: int, buffers: list[memoryview], offset: int, *flags: int) -> int:
        return min(preadv(descriptor, buffers, offset, *flags), dice.randint(1, 100_000))

    file = LocalFile(path, SIZE)
    evict(path)
    monkeypatch.setattr(os, "preadv", short)
    file.read(0, room)
    assert room == BODY


def test_threads_read_one_file_at_once(path: Path, room: memoryview) -> None:
    file, step = LocalFile(path, SIZE), SIZE // 16
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda at: file.read(at, room[at : at + step]), range(0, SIZE, step)))
    assert room == BODY


def test_another_size_is_refused_when_it_is_opened(path: Path) -> None:
    with pytest.raises(FileCut, match=f"has {SIZE} bytes and should have {SIZE + 4096}"):
        LocalFile(path, SIZE + 4096)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadFailed, match="nothing cannot be opened"):
        LocalFile(tmp_path / "nothing", SIZE)


def test_a_file_that_is_cut_meanwhile_is_noticed(path: Path, room: memoryview) -> None:
    file = LocalFile(path, SIZE)
    os.truncate(path, SIZE // 2 + 100)
    with pytest.raises(FileCut, match=f"ends at byte {SIZE // 2 + 100}"):
        file.read(0, room)


def test_a_file_that_is_written_meanwhile_is_noticed(path: Path, room: memoryview) -> None:
    file = LocalFile(path, SIZE)
    with path.open("r+b") as other:
        other.write(b"x")
    os.utime(path, ns=(0, 0))
    with pytest.raises(FileChanged, match="was changed"):
        file.read(0, room)


def test_what_the_disk_says_is_told_with_the_place(
    path: Path, room: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv

    def broken(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset >= 8192:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(descriptor, [buffers[0][:8192]], offset)

    file = LocalFile(path, SIZE)
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(ReadFailed, match=r"safetensors cannot be read at byte 8192: Input/output"):
        file.read(0, room)


def test_a_package_that_stays_broken_fails_its_landing_with_file_and_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = random_package()
    package.write(tmp_path / "model")
    preadv = os.preadv
    third = package.index.header_bytes + package.index.chunk_range(3)[0]

    def broken(descriptor: int, buffers: Any, offset: int) -> int:
        if offset == third:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", broken)
    landing = Landing.create(package.index, package.header, Arena(package.index.data_bytes))
    with pytest.raises(Unobtainable, match=r"weights: chunk 3 of 21 .*Input/output error"):
        fetch(landing, [FileTier(tmp_path / "model", package.index)], where="weights")
    assert 3 in landing.missing()

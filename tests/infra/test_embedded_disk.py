"""What the embedded Valkey has written is on the disk a moment later."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from infra.embedded import EmbeddedValkey
from infra.embedded_disk import DiskSync
from tests.fixtures.requirements import missing
from tests.fixtures.waiting import block_until

_CACHESTAT = 451
"""The number of the call, on every architecture; Linux 6.5 has it."""
_LARGE_BYTES = 1 << 20


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose server has just acknowledged a large value."""
    data = tmp_path / "data"
    server = EmbeddedValkey(tmp_path / "v.sock", data)
    server.start()
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.set("large", bytes(_LARGE_BYTES))
    yield data
    server.stop()


def unsynced_pages(data: Path) -> int:
    """Pages of the append-only files that the machine has in its memory alone."""
    return sum(_unsynced_pages(path) for path in data.glob("appendonlydir/*.aof"))


def _unsynced_pages(path: Path) -> int:
    whole, counted = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)()
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file:
        if libc.syscall(_CACHESTAT, file.fileno(), whole, counted, 0):
            missing("cachestat", f"Linux 6.5: {os.strerror(ctypes.get_errno())}")
    _, dirty, in_writeback, *_ = counted
    return int(dirty + in_writeback)


def test_what_was_acknowledged_reaches_the_disk(written: Path) -> None:
    if not unsynced_pages(written):
        missing("a disk", "the temporary folder is in memory or is synced at once")
    sync = DiskSync(written, pytest.fail)
    sync.start()
    block_until(lambda: unsynced_pages(written) == 0, "all of it is on the disk")
    sync.stop()


def test_a_disk_that_refuses_is_told_of_once_until_it_takes_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    refused = folder / "refused.aof"
    said: list[str] = []
    sync = DiskSync(tmp_path, said.append)
    refused.symlink_to(refused)
    for _ in range(3):
        sync.sync()
    assert len(said) == 1
    assert "Too many levels" in said[0]
    refused.unlink()
    sync.sync()
    refused.symlink_to(refused)
    sync.sync()
    assert len(said) == 2

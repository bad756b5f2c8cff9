"""A landing shows its bytes to other processes as they land, and to nobody before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.package_index import (
    BLOCK_BYTES,
    ChunkHash,
    LayerGroup,
    PackageIndex,
    checksum_of,
    digest_of,
    with_root,
)
from worker.loader.arena import UNIT_BYTES, Arena
from worker.loader.landing import Landing, OwnLanding
from worker.loader.ledger import LandingFailed

CHUNK_BYTES = 64 << 10
HEADER = bytes(BLOCK_BYTES)
CONTENT = b"".join(bytes([65 + chunk]) * CHUNK_BYTES for chunk in range(3))[:-BLOCK_BYTES]

READER = """
import sys
from worker.loader.landing import Landing
landing = Landing.open(sys.argv[1])
print(bytes(landing.wait(65536, 65540, 30)).decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def index() -> PackageIndex:
    chunks = [CONTENT[at : at + CHUNK_BYTES] for at in range(0, len(CONTENT), CHUNK_BYTES)]
    return with_root(
        PackageIndex(
            root="0" * 64,
            header_bytes=len(HEADER),
            header_digest=digest_of(HEADER),
            data_bytes=len(CONTENT),
            chunk_bytes=CHUNK_BYTES,
            chunks=[ChunkHash(checksum_of(chunk), digest_of(chunk)) for chunk in chunks],
            groups=[LayerGroup("all", 0, len(CONTENT))],
        )
    )


@pytest.fixture
def arena() -> Arena:
    return Arena(2 * UNIT_BYTES)


@pytest.fixture
def own(index: PackageIndex, arena: Arena) -> Iterator[OwnLanding]:
    landing = Landing.create(index, HEADER, arena)
    yield landing
    landing.fail("the test is over")


def land(own: OwnLanding, *chunks: int) -> None:
    for chunk in chunks:
        begin, end = own.index.chunk_range(chunk)
        own.room(chunk)[:] = CONTENT[begin:end]
        own.landed(chunk)


def test_what_is_opened_knows_the_package(own: OwnLanding) -> None:
    opened = Landing.open(own.path)
    assert (opened.index, opened.header) == (own.index, HEADER)
    assert (opened.missing(), opened.landed_bytes) == ([0, 1, 2], 0)


def test_bytes_are_counted_to_the_last_block(own: OwnLanding) -> None:
    opened = Landing.open(own.path)
    land(own, 2)
    assert (opened.missing(), opened.landed_bytes) == ([0, 1], CHUNK_BYTES - BLOCK_BYTES)
    land(own, 0, 1)
    assert (opened.missing(), opened.landed_bytes) == ([], len(CONTENT))
    assert opened.wait(0, len(CONTENT), 0) == CONTENT


def test_who_waits_gets_the_bytes_when_their_last_chunk_lands(own: OwnLanding) -> None:
    opened = Landing.open(own.path)
    land(own, 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(opened.wait, CHUNK_BYTES - 1, CHUNK_BYTES + 1, 30)
        assert opened.wait(0, CHUNK_BYTES, 0) == CONTENT[:CHUNK_BYTES]
        assert not waiting.done()
        land(own, 1)
        assert bytes(waiting.result()) == b"AB"


def test_another_process_reads_what_lands_here(own: OwnLanding) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READER, own.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        land(own, 1)
        assert reader.stdout.readline() == "BBBB\n"
        assert not own.close()
        reader.kill()
    assert own.close()


def test_a_failure_reaches_who_waits_and_spares_what_has_landed(own: OwnLanding) -> None:
    opened = Landing.open(own.path)
    land(own, 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(opened.wait, 0, len(CONTENT), 30)
        own.fail("chunk 1 of model.safetensors is broken in every tier")
        own.fail("and this came later")
        with pytest.raises(LandingFailed, match="chunk 1 of model"):
            waiting.result()
    assert opened.wait(0, CHUNK_BYTES, 0) == CONTENT[:CHUNK_BYTES]


def test_when_nothing_lands_for_too_long_waiting_ends(own: OwnLanding) -> None:
    with pytest.raises(LandingFailed, match=f"0 of {len(CONTENT)} bytes are there"):
        Landing.open(own.path).wait(0, 1, limit_s=0)


def test_who_opens_a_landing_cannot_write_it(own: OwnLanding) -> None:
    land(own, 0)
    with pytest.raises(TypeError, match="read-only"):
        Landing.open(own.path).wait(0, 1, 0)[0] = 1


def test_memory_returns_to_the_arena_when_the_last_view_is_gone(
    own: OwnLanding, arena: Arena
) -> None:
    opened = Landing.open(own.path)
    land(own, 0)
    view = opened.wait(0, 1, 0)
    del opened
    assert not own.close()
    assert arena.used_bytes == UNIT_BYTES
    del view
    assert own.close()
    assert arena.used_bytes == 0


def test_a_closed_landing_cannot_be_opened(own: OwnLanding) -> None:
    path = own.path
    assert own.close()
    with pytest.raises(LandingFailed):
        Landing.open(path)

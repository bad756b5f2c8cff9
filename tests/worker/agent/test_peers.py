"""Weights from other workers: for who has the right, only what is there, never believed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.peer_access import PATH, permission, weights_key
from infra.storage.http_connection import Head, open_connection
from loadtests.benchmarks.loader.random_package import RandomPackage, random_package
from tests.fixtures.waiting import block_until
from worker.agent.peer_server import PeerServer, Rate, SharedPackage
from worker.loader.arena import Arena
from worker.loader.fetch import fetch
from worker.loader.landing import Landing, OwnLanding
from worker.loader.tiers.base import Held, Miss
from worker.loader.tiers.peer import PeerTier
from worker.loader.tiers.store import StoreTier

KEY = weights_key(b"secret", "s3://bucket/models/a")
LIMIT_S = 10.0


@pytest.fixture
def package() -> RandomPackage:
    return random_package()


@pytest.fixture
def server() -> Iterator[PeerServer]:
    server = PeerServer("127.0.0.1", 0)
    yield server
    server.close()


def _landing(package: RandomPackage, chunks: range = range(0)) -> OwnLanding:
    landing = Landing.create(package.index, package.header, Arena(8 << 20))
    for chunk in chunks:
        begin, end = package.index.chunk_range(chunk)
        landing.room(chunk)[:] = package.data[begin:end]
        landing.landed(chunk)
    return landing


def _everything(package: RandomPackage) -> range:
    return range(len(package.index.chunks))


def _peer_tier(package: RandomPackage, *servers: PeerServer, key: str = KEY) -> PeerTier:
    return PeerTier(package.index, key, "127.0.0.1:1", lambda: [each.address for each in servers])


class MemoryFile:
    """A store of one file; counts what is read of it."""

    def __init__(self, package: RandomPackage) -> None:
        self.where = "the store"
        self.body = package.header + package.data
        self.size_bytes = len(self.body)
        self.read_bytes = 0

    def read(self, begin: int, into: memoryview) -> None:
        into[:] = self.body[begin : begin + len(into)]
        self.read_bytes += len(into)

    def request(self, begin: int, into: memoryview) -> object:
        raise NotImplementedError

    def close(self) -> None: ...


def _store(package: RandomPackage) -> tuple[StoreTier, MemoryFile]:
    file = MemoryFile(package)
    return StoreTier(package.index, file, 2), file  # type: ignore[arg-type]


def test_chunks_come_from_a_peer_that_has_them(package: RandomPackage, server: PeerServer) -> None:
    server.share(SharedPackage(_landing(package, _everything(package)), KEY))
    store, stored = _store(package)
    landing = _landing(package)
    report = fetch(landing, [_peer_tier(package, server), store])
    assert bytes(landing.wait(0, len(package.data), LIMIT_S)) == package.data
    assert report.bytes_by_tier == {"peer": len(package.data)}
    assert stored.read_bytes == 0


def test_a_peer_that_sends_wrong_bytes_is_found_out_and_avoided(
    package: RandomPackage, server: PeerServer
) -> None:
    lying = _landing(package, _everything(package))
    for chunk in _everything(package):
        lying.room(chunk)[50] ^= 1
    server.share(SharedPackage(lying, KEY))
    store, _ = _store(package)
    landing = _landing(package)
    peers = _peer_tier(package, server)
    report = fetch(landing, [peers, store])
    assert bytes(landing.wait(0, len(package.data), LIMIT_S)) == package.data
    assert report.bytes_by_tier == {"store": len(package.data)}
    assert 1 <= report.refetched_chunks <= peers.streams


def test_without_the_key_of_the_model_nothing_is_served(
    package: RandomPackage, server: PeerServer
) -> None:
    server.share(SharedPackage(_landing(package, _everything(package)), KEY))
    path = f"{PATH}/{package.index.root}"
    wrong = {
        "no key": "",
        "another model's": permission(weights_key(b"secret", "s3://b"), server.address, path),
        "another worker's": permission(KEY, "127.0.0.1:1", path),
        "another path's": permission(KEY, server.address, f"{path}/chunks"),
    }
    for shown in wrong.values():
        assert _ask(server, path, shown).status == 404
    assert _ask(server, path, permission(KEY, server.address, path)).status == 206
    assert _ask(server, "/weights/../secret.key", "").status == 404


def _ask(server: PeerServer, path: str, shown: str, part: str = "bytes=0-9") -> Head:
    connection = open_connection(f"http://{server.address}", LIMIT_S)
    headers = {"authorization": shown, "range": part}
    head = connection.ask(f"http://{server.address}{path}", headers)
    connection.close()
    return head


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ("bytes=0-9", 206),
        ("bytes=70000-70009", 404),
        ("bytes=9-0", 416),
        (f"bytes=0-{10**17}", 416),
        ("bytes=-5", 416),
        ("", 416),
    ],
)
def test_only_what_has_landed_is_served(
    package: RandomPackage, server: PeerServer, part: str, status: int
) -> None:
    server.share(SharedPackage(_landing(package, range(1)), KEY))
    path = f"{PATH}/{package.index.root}"
    assert _ask(server, path, permission(KEY, server.address, path), part).status == status


def test_a_peer_that_drains_is_left(package: RandomPackage, server: PeerServer) -> None:
    server.share(SharedPackage(_landing(package, _everything(package)), KEY))
    peers = _peer_tier(package, server)
    block_until(lambda: peers.holds(0) is Held.HERE, "the peer has told what it has")
    server.draining = True
    with pytest.raises(Miss):
        peers.read(0, memoryview(bytearray(package.index.chunk_bytes)))
    peers.close()


def test_what_a_peer_reads_from_the_store_is_waited_for(
    package: RandomPackage, server: PeerServer
) -> None:
    theirs = SharedPackage(_landing(package), KEY)
    theirs.reading_from_store(3, True)
    server.share(theirs)
    peers = _peer_tier(package, server)
    peers.reading_from_store(0, True)  # it is not idle
    block_until(lambda: peers._swarm.members[server.address].states, "the peer has spoken")
    assert peers.holds(3) is Held.SOON
    peers.close()


def test_withdrawn_memory_is_read_by_nobody(package: RandomPackage, server: PeerServer) -> None:
    shared = SharedPackage(_landing(package, _everything(package)), KEY)
    end = server.share(shared)
    assert shared.begin_answer()
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end)
        block_until(lambda: server.roots == [], "it is not offered any more")
        assert not ending.done()
        assert not shared.begin_answer()
        shared.end_answer()
        ending.result(LIMIT_S)


def test_who_reads_slowly_does_not_keep_what_is_withdrawn(package: RandomPackage) -> None:
    server = PeerServer("127.0.0.1", 0, bytes_per_s=1 << 20)
    shared = SharedPackage(_landing(package, _everything(package)), KEY)
    end = server.share(shared)
    path = f"{PATH}/{package.index.root}"
    shown = permission(KEY, server.address, path)
    connection = open_connection(f"http://{server.address}", LIMIT_S)
    whole = f"bytes=0-{package.index.data_bytes - 1}"
    headers = {"authorization": shown, "range": whole}
    assert connection.ask(f"http://{server.address}{path}", headers).status == 206
    with ThreadPoolExecutor(1) as pool:
        # Most of it has not been read, and nobody is going to.
        pool.submit(end).result(LIMIT_S)
    connection.close()
    server.close()


def test_a_rate_spreads_what_is_served() -> None:
    rate = Rate(1000.0)
    assert rate.take(500) == pytest.approx(0.5, abs=0.1)
    assert rate.take(500) == pytest.approx(1.0, abs=0.1)
    assert Rate(0).take(1 << 40) == 0.0
